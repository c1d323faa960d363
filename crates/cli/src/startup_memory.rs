//! Gives back the memory that only the start needed, once the program does nothing but its work, and code that runs
//! seldom.
//!
//! Reading settings, making clients and opening files runs through much of the program's code that is not
//! needed again, but stays among the resident pages of the process; so does what was allocated and
//! freed. Code comes back from the page cache when it is needed after all.
//!
//! One of the four files of the project with `unsafe`: which parts of the program can be read again from
//! their files only the loader tells (dl_iterate_phdr(3)), and none of the crates that we have wraps it.
#![expect(
    unsafe_code,
    reason = "dl_iterate_phdr and madvise have no safe binding; see the head of this file"
)]

use std::ffi::{c_int, c_void};
use std::time::Duration;

/// By then the first batches have gone their whole way.
const STARTED: Duration = Duration::from_secs(10);
/// How often code is given back afterwards: what runs now and then, as when a broker goes away, is not needed in
/// between.
const AGAIN: Duration = Duration::from_secs(60);

/// Waits until the start is over and gives back; then from time to time.
pub(crate) async fn give_back() {
    tokio::time::sleep(STARTED).await;
    give_back_heap();
    loop {
        give_back_code();
        tokio::time::sleep(AGAIN).await;
    }
}

fn give_back_heap() {
    // SAFETY: it may be called at any time; memory that is in use is not touched.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

fn give_back_code() {
    // SAFETY: the callback has the signature that is asked for and needs no data.
    unsafe { libc::dl_iterate_phdr(Some(give_back_object), std::ptr::null_mut()) };
}

/// Gives back what is only read of the program itself or of a library of it.
extern "C" fn give_back_object(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    _data: *mut c_void,
) -> c_int {
    const GO_ON: c_int = 0;
    let page = rustix::param::page_size();
    // SAFETY: the loader hands out a structure that is valid during the call.
    let info = unsafe { &*info };
    // SAFETY: it names the array of the headers and its length, which stay as they are.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    for header in headers {
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let begin = info.dlpi_addr as usize + header.p_vaddr as usize;
        let end = (begin + header.p_memsz as usize) / page * page;
        let begin = begin.next_multiple_of(page);
        // SAFETY: whole pages of a segment that nobody can write to: they are as in the object's file, from
        // where the kernel takes them again.
        let given = unsafe {
            libc::madvise(
                begin as *mut c_void,
                end.saturating_sub(begin),
                libc::MADV_DONTNEED,
            )
        };
        if given != 0 {
            tracing::debug!(error = %std::io::Error::last_os_error(), "madvise");
        }
    }
    GO_ON
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resident pages that are backed by files: the third number of /proc/self/statm (proc(5)).
    fn resident_of_files() -> u64 {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("readable");
        let pages = statm.split(' ').nth(2).expect("a third number");
        pages.parse().expect("a number")
    }

    #[test]
    fn what_the_start_needed_goes_and_the_program_goes_on() {
        let help = || {
            crate::commands::command_line()
                .render_long_help()
                .to_string()
        };
        let (text, before) = (help(), resident_of_files());
        give_back_heap();
        give_back_code();
        let after = resident_of_files();
        assert!(after < before, "{after} pages are not less than {before}");
        assert_eq!(help(), text);
    }
}
