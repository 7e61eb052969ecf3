//! How this process asks the system for memory.

/// Makes glibc's allocator keep freed memory for the next buffer instead of giving it back at once.
///
/// Every op makes a new buffer of some megabytes. By default each is a fresh mapping whose pages the system clears
/// on first touch, which on two cores took a fifth of a forward pass. Programs call this once, first thing; it does
/// nothing where the C library is not glibc.
pub fn keep_freed_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const KEEP: libc::c_int = 1 << 30;
        // SAFETY: mallopt only stores the two numbers in the allocator's settings.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, KEEP);
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
            libc::mallopt(libc::M_TOP_PAD, 64 << 20);
        }
    }
}
