//! Requests through real Envoys that our control planes program.

mod end_to_end;
