//! Tests of the collector: mounts that hang, fail, or have nothing to tell.

use super::*;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use testkit::HostTree;
use tidegauge_model::{ManualClock, Value};
use tidegauge_testkit as testkit;

const MOUNTINFO: &str = "\
    1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
    2 1 0:50 / /stuck rw - nfs4 server:/export rw\n\
    3 1 8:2 / /data ro - xfs /dev/sda2 ro\n";

fn host(mountinfo: &str) -> (HostTree, HostRoots) {
    let tree = HostTree::new().file("proc/1/mountinfo", mountinfo);
    let roots = HostRoots::new(tree.proc_root(), tree.sys_root(), tree.path("root"));
    (tree, roots)
}

const fn space(total_bytes: u64) -> Space {
    Space {
        total_bytes,
        free_bytes: total_bytes / 2,
        available_bytes: total_bytes / 4,
        inodes: 0,
        inodes_free: 0,
        read_only: false,
    }
}

fn collect(collector: &mut Filesystem) -> Vec<Point> {
    let mut points = Vec::new();
    collector
        .collect(&ManualClock::at(1), &mut points)
        .expect("collects");
    points
}

/// The mounts and whether they respond.
fn responding(points: &[Point]) -> Vec<(&str, bool)> {
    points
        .iter()
        .map(|point| {
            let mount = point.tag_text("mount").expect("has a mount");
            (mount, point.value("responding") == Some(&Value::Bool(true)))
        })
        .collect()
}

#[test]
fn a_hanging_mount_holds_up_no_other_and_has_one_thread() {
    let (_tree, roots) = host(MOUNTINFO);
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let ask = move |path: &Path| {
        if path.ends_with("stuck") {
            counter.fetch_add(1, Ordering::SeqCst);
            // Hangs until the test lets go; an ended test lets go of all.
            let released = released.lock().expect("not poisoned").recv();
            released.map_err(io::Error::other)?;
        }
        Ok(space(1000))
    };
    let mut collector = Filesystem::asking(&roots, Arc::new(ask), Duration::from_millis(500));

    let late = [("/", true), ("/stuck", false), ("/data", true)];
    assert_eq!(responding(&collect(&mut collector)), late);
    // It is known to hang: nobody waits for it, and it is not asked again.
    collector.deadline = Duration::from_secs(60);
    assert_eq!(responding(&collect(&mut collector)), late);
    assert_eq!(asked.load(Ordering::SeqCst), 1);

    // One release for the old question, whose answer is thrown away, one for the next.
    release.send(()).expect("the thread waits");
    release.send(()).expect("the thread waits");
    let points = testkit::eventually(Duration::from_secs(60), "the mount responds again", || {
        let points = collect(&mut collector);
        responding(&points)
            .iter()
            .all(|(_, responds)| *responds)
            .then_some(points)
    });
    assert_eq!(points.len(), 3);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn a_stuck_thread_is_remembered_after_its_mount_is_gone() {
    let (tree, roots) = host(MOUNTINFO);
    let (_hold, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let ask = move |path: &Path| {
        if path.ends_with("stuck") {
            let released = held.lock().expect("not poisoned").recv();
            released.map_err(io::Error::other)?;
        }
        Ok(space(1000))
    };
    let mut collector = Filesystem::asking(&roots, Arc::new(ask), Duration::from_millis(500));
    collect(&mut collector);
    collector.deadline = Duration::from_secs(60);
    tree.write("proc/1/mountinfo", "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n");
    assert_eq!(responding(&collect(&mut collector)), [("/", true)]);
    assert_eq!(collector.askers.len(), 2, "`/` and the stuck one");
    tree.write("proc/1/mountinfo", MOUNTINFO);
    collect(&mut collector);
    assert_eq!(collector.askers.len(), 3);
}

#[test]
fn a_broken_mount_is_told_and_one_that_is_not_ours_is_not() {
    let (_tree, roots) = host(
        "1 0 8:1 / /broken rw - ext4 /dev/sda1 rw\n\
         2 1 0:50 / /denied rw - fuse.sshfs server:/export rw\n\
         3 1 0:51 / /elsewhere rw - ext4 /dev/sda2 rw\n\
         4 1 0:52 / /empty rw - newpseudofs none rw\n",
    );
    let ask = |path: &Path| match path.file_name().and_then(|name| name.to_str()) {
        Some("broken") => Err(io::Error::from_raw_os_error(116)), // ESTALE
        Some("denied") => Err(io::ErrorKind::PermissionDenied.into()),
        Some("elsewhere") => Err(io::ErrorKind::NotFound.into()),
        _ => Ok(space(0)),
    };
    let mut collector = Filesystem::asking(&roots, Arc::new(ask), Duration::from_secs(60));
    let points = collect(&mut collector);
    assert_eq!(responding(&points), [("/broken", false)]);
    assert_eq!(points[0].value("total_bytes"), None);
}

#[test]
fn space_is_that_of_df() {
    let (_tree, roots) = host("3 1 8:2 / / ro - xfs /dev/sda2 ro\n");
    let ask = |_: &Path| {
        Ok(Space {
            total_bytes: 1000,
            free_bytes: 400,
            available_bytes: 300,
            inodes: 8,
            inodes_free: 7,
            read_only: false,
        })
    };
    let mut collector = Filesystem::asking(&roots, Arc::new(ask), Duration::from_secs(60));
    let points = collect(&mut collector);
    let number = |field| match points[0].value(field) {
        Some(Value::Float(number)) => *number,
        other => panic!("{field} is {other:?}"),
    };
    assert_eq!(number("used_bytes"), 600.0);
    assert_eq!(number("used_percent"), 66.667, "of what users may fill");
    assert_eq!(number("inodes_used_percent"), 12.5);
    assert_eq!(points[0].value("read_only"), Some(&Value::Bool(true)));
}
