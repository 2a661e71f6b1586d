//! Memory of the calling process.
#![expect(unsafe_code, reason = "an extension of glibc that no crate wraps")]

/// Gives memory that was freed back to the kernel, as far as the C library can; a no-op elsewhere than on glibc.
pub fn release_free_memory() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: malloc_trim takes a number, and locks the allocator itself.
        unsafe { libc::malloc_trim(0) };
    }
}
