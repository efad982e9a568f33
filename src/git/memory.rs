//! How much memory libgit2 may use: settings of the whole process.

/// One window into a pack, in bytes. Packs are read through windows, never mapped whole.
const WINDOW: usize = 4 << 20;

/// All windows together, in bytes. Mapped pages count as resident, so this is what a pack of any size costs.
const WINDOWS: usize = 64 << 20;

/// Parsed objects that are kept for being read again, in bytes over all repositories.
const CACHED: isize = 32 << 20;

/// Bounds what libgit2 maps and caches; without, a pack of 1 GB is mapped whole. To be called once, at the start of the
/// process, before there is another thread.
pub fn bound_memory() {
    // Each fails only for a name that the linked library does not know, and then its default stays.
    #[expect(unsafe_code, reason = "they write variables of a C library, and nothing else runs yet")]
    // SAFETY: the caller has started no thread yet, as the documentation of this function demands.
    unsafe {
        let _ = git2::opts::set_mwindow_size(WINDOW);
        let _ = git2::opts::set_mwindow_mapped_limit(WINDOWS);
        let _ = git2::opts::set_cache_max_size(CACHED);
    }
}
