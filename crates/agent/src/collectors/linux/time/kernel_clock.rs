//! Asks the kernel how its clock is kept right: adjtimex(2), which needs no rights to read.
//!
//! One of the four files of the project with `unsafe`: there is no file of `/proc` with this, and none of
//! the crates that we have wraps the call. It hands the kernel one structure that it owns, with
//! `modes` = 0, which changes nothing.
#![expect(
    unsafe_code,
    reason = "adjtimex has no safe binding; see the head of this file"
)]

use std::io;

const STA_UNSYNC: i32 = 0x0040;
const STA_NANO: i32 = 0x2000;
/// What adjtimex returns when the clock is not kept right.
const TIME_ERROR: i32 = 5;

/// The state of the kernel's clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KernelClock {
    /// Whether a program keeps the clock right.
    pub synchronized: bool,
    /// What the clock still has to be moved by, in nanoseconds.
    pub offset_ns: i64,
    /// How much faster the clock is made, in 2^-16 millionths.
    pub frequency: i64,
    /// The most that the clock is wrong by, in microseconds.
    pub max_error_us: i64,
    /// What the clock is thought to be wrong by, in microseconds.
    pub estimated_error_us: i64,
    /// Seconds between UTC and TAI.
    pub tai_offset_seconds: i32,
}

/// Asks the kernel.
pub(super) fn ask() -> io::Result<KernelClock> {
    // SAFETY: the structure is plain numbers, for which all zeroes are a value; so `modes` is 0.
    let mut told: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a structure of ours that outlives the call, and the kernel writes
    // nothing else.
    let state = unsafe { libc::adjtimex(&raw mut told) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    let unit_ns = if told.status & STA_NANO != 0 {
        1
    } else {
        1_000
    };
    Ok(KernelClock {
        synchronized: state != TIME_ERROR && told.status & STA_UNSYNC == 0,
        offset_ns: told.offset.saturating_mul(unit_ns),
        frequency: told.freq,
        max_error_us: told.maxerror,
        estimated_error_us: told.esterror,
        tai_offset_seconds: told.tai,
    })
}
