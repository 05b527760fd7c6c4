//! Translation seen from outside: what is offered for resources as a person writes them.

mod fixture;
mod generate;
mod golden;
mod held;
mod incremental;
mod reported;
mod tree;
