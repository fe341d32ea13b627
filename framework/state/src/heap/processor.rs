//! The one place with `unsafe`: an instruction that Rust has no safe word for.
#![allow(unsafe_code)]

/// Bytes that the processor fetches at once.
const CACHE_LINE: usize = 64;

/// Brings the cache lines of `target` nearer, or the first and the last if there are many, without reading them.
#[inline]
pub(super) fn prefetch<T>(target: &T) {
    let address = std::ptr::from_ref(target).addr();
    prefetch_address(address);
    // What does not divide a line evenly may begin in one and end in the next.
    if size_of::<T>() > 0 && !CACHE_LINE.is_multiple_of(size_of::<T>()) {
        prefetch_address(address + size_of::<T>() - 1);
    }
}

/// Brings the cache line at an address nearer. A hint: any address is allowed.
#[inline]
pub(super) fn prefetch_address(address: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let address = std::ptr::without_provenance::<i8>(address);
        // SAFETY: a prefetch neither reads nor writes as far as the program can see and never faults, whatever the
        // address; SSE, which has the instruction, is part of every x86_64 processor.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
