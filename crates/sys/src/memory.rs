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

/// As [`release_free_memory`], if more than `kept` bytes are free: less is not worth the faults of those who need it next.
pub fn release_free_memory_beyond(kept: usize) {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallinfo2 takes nothing, and locks the allocator itself.
        let info = unsafe { libc::mallinfo2() };
        if info.fordblks > kept {
            release_free_memory();
        }
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = kept;
}
