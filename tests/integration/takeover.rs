//! A takeover and the return of the former primary: what the comparison of objects counts and leaves out, readings that
//! fail, commands whose caller dies at any call to a ledger, what is withheld from the standby, the default permissions
//! of databases, the query tools, the grants that a switchover freezes, and runs whose time is short.

mod default_permissions;
mod freeze;
mod freeze_attempts;
mod freeze_races;
mod freeze_restore;
mod freeze_runs;
mod interrupted;
mod objects;
mod own_roles;
mod query_tools;
mod readings;
mod recovery_time;
mod stops;
mod wake;
mod wake_bookmarks;
mod withheld;
