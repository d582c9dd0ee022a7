//! Proves that the core builds without std.

#![no_std]

extern crate alloc;

use core::alloc::{GlobalAlloc, Layout};

use echosphere_core::echo::EchoCodec;
use echosphere_core::wire::Codec;

struct NoMemory;

// SAFETY: returning null is what an allocator does that has no memory.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Uses the core, so that it is linked.
#[unsafe(no_mangle)]
pub extern "C" fn proof() -> bool {
    !EchoCodec::accepted(1).is_text()
}
