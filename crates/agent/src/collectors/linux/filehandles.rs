//! `filehandles`: open files of the whole host, and inodes and names in the kernel's memory.
//!
//! Not by process. Sources: `/proc/sys/fs/file-nr`, `inode-nr` and `dentry-state`,
//! proc_sys_fs(5); the latter two may be missing.

use super::{CollectError, Collector, CollectorEntry, SourceFile, percent_of};
use crate::roots::HostRoots;
use tidegauge_model::{Clock, Point, name};

pub(super) const ENTRY: CollectorEntry = CollectorEntry {
    name: "filehandles",
    description: "Open files of the whole host and their limit; inodes and names in memory.",
    new: |context| Box::new(Filehandles::new(&context.roots)),
    default_on: true,
    measurements: &["filehandles"],
};

struct Filehandles {
    files: SourceFile,
    inodes: SourceFile,
    dentries: SourceFile,
}

impl Filehandles {
    fn new(roots: &HostRoots) -> Self {
        let file = |name| SourceFile::new(roots.proc.join("sys/fs").join(name)).of_one_record();
        Self {
            files: file("file-nr"),
            inodes: file("inode-nr"),
            dentries: file("dentry-state"),
        }
    }
}

impl Collector for Filehandles {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn collect(&mut self, clock: &dyn Clock, points: &mut Vec<Point>) -> Result<(), CollectError> {
        let [allocated, unused, max] = numbers(&mut self.files)?;
        let open = allocated.saturating_sub(unused);
        // The default of 64-bit kernels since 5.1 is no limit at all.
        let max = Some(max).filter(|&max| max < i64::MAX as u64);
        let mut point = Point::new(name!("filehandles"), clock.now_us())
            .field(name!("open"), open)
            .field_if(name!("max"), max)
            .field_if(
                name!("used_percent"),
                max.and_then(|max| percent_of(open, max)),
            );
        if let Some([all, unused]) = if_there(numbers(&mut self.inodes))? {
            point.set(name!("inodes"), all);
            point.set(name!("inodes_free"), unused);
        }
        // The third is an age, the fourth is of memory that is wanted back.
        if let Some([all, unused, _, _, negative]) = if_there(numbers(&mut self.dentries))? {
            point.set(name!("dentries"), all);
            point.set(name!("dentries_unused"), unused);
            // Before kernel 5.0 this is not used and 0.
            point = point.field_if(
                name!("dentries_negative"),
                (negative > 0).then_some(negative),
            );
        }
        points.push(point);
        Ok(())
    }
}

/// The first numbers of a file of one line.
fn numbers<const COUNT: usize>(file: &mut SourceFile) -> Result<[u64; COUNT], CollectError> {
    let text = file.read_text()?;
    let mut words = text.first_line()?.split_ascii_whitespace();
    let mut numbers = [0; COUNT];
    for slot in &mut numbers {
        *slot = text.number(1, words.next())?;
    }
    Ok(numbers)
}

fn if_there<T>(read: Result<T, CollectError>) -> Result<Option<T>, CollectError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_unavailable() => Ok(None),
        Err(error) => Err(error),
    }
}
