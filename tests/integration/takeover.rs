//! A takeover and the return of the former primary: what the comparison of objects counts and leaves out, readings that
//! fail, commands whose caller dies at any call to a ledger, what is withheld from the standby, the default permissions
//! of databases, and the query tools.

#[path = "takeover/default_permissions.rs"]
mod default_permissions;
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
#[path = "takeover/withheld.rs"]
mod withheld;
