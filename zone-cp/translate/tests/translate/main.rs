//! Translation seen from outside: what is offered for resources as a person writes them.

mod fixture;
mod generate;
mod golden;
mod incremental;
mod tree;
