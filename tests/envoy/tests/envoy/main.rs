//! Requests through real Envoys that our control planes program.

mod agents;
mod bad_input;
mod cases;
mod certificates;
mod changes;
mod edits;
mod end_to_end;
mod external_services;
mod goldens;
mod listeners;
mod named;
mod proxies;
mod receipts;
mod refusals;
mod restarts;
mod steady;
mod stock_proxies;
mod support;
mod takeover;
mod tree;
