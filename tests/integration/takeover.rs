//! A takeover and the return of the former primary: what the comparison of objects counts and leaves out, readings that
//! fail, commands whose caller dies at any call to a ledger, what is withheld from the standby, the default permissions
//! of databases, and the query tools.

mod default_permissions;
mod interrupted;
mod objects;
mod own_roles;
mod query_tools;
mod readings;
mod withheld;
