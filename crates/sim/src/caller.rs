//! Who makes an API call, and in which Region.

/// The principal that calls and the Region that it calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    pub region: &'a str,
    pub principal: &'a str,
}
