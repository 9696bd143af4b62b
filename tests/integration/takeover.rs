//! A takeover and the return of the former primary: what the comparison of objects counts and leaves out, readings that
//! fail, commands whose caller dies at any call to a ledger, and the query tools.

#[path = "takeover/interrupted.rs"]
mod interrupted;
#[path = "takeover/objects.rs"]
mod objects;
#[path = "takeover/own_roles.rs"]
mod own_roles;
#[path = "takeover/query_tools.rs"]
mod query_tools;
#[path = "takeover/readings.rs"]
mod readings;
