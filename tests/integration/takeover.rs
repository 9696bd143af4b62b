//! A takeover and the return of the former primary: what the comparison of objects counts and leaves out, and
//! readings that fail.

#[path = "takeover/objects.rs"]
mod objects;
#[path = "takeover/readings.rs"]
mod readings;
