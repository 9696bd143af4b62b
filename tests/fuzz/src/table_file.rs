//! Runs a check over the file that an input stands for. An allocation that no file of this length justifies ends the
//! process, and so does a panic, except those of the Parquet library, which the crate contains.

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::{Mutex, Once, PoisonError};

/// The largest allocation: a block of Avro, or a page of Parquet, that is decompressed, and some more.
const MAX_ALLOCATION: usize = 300 << 20;

struct BoundedAllocator;

#[global_allocator]
static ALLOCATOR: BoundedAllocator = BoundedAllocator;

fn check(size: usize) {
    if size > MAX_ALLOCATION {
        eprintln!("an allocation of {size} bytes");
        std::process::abort();
    }
}

// SAFETY: all calls go to the allocator of the system.
unsafe impl GlobalAlloc for BoundedAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check(size);
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

static HOOK: Once = Once::new();
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Calls `check` with the file that an input stands for: its bytes, or one of `sound` with edits.
pub fn run(input: &[u8], sound: fn() -> Vec<Vec<u8>>, check: impl FnOnce(&[u8])) {
    // The hook of libFuzzer ends the process at any panic, also at one that is contained.
    HOOK.call_once(|| {
        set_hook(Box::new(|panic| {
            let text = panic.to_string();
            text.clone_into(&mut LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner));
        }));
    });
    let file = crate::any_file::file_of(input, &sound());
    if catch_unwind(AssertUnwindSafe(|| check(&file))).is_err() {
        let panic = LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner);
        eprintln!("{panic}");
        std::process::abort();
    }
}
