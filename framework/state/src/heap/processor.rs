//! The one place with `unsafe`: an instruction that Rust has no safe word for.
#![allow(unsafe_code)]

/// Brings the cache line of `target` nearer, without reading it.
#[inline]
pub(super) fn prefetch<T>(target: &T) {
    prefetch_address(std::ptr::from_ref(target).addr());
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
