//! How many files and connections the program may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one. The usual soft limit, 1,024, is for programs that wait with select(2),
/// which this one does not; a thousand checks under way need more.
pub(crate) fn allow_most() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    let most = Rlimit {
        current: maximum,
        maximum,
    };
    // Where it may not be raised (macOS has a limit of its own), it stays as it was.
    let _refused = setrlimit(Resource::Nofile, most);
}
