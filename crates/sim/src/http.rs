//! Serves a world over HTTP.
