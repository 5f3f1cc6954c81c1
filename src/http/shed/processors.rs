//! How much of the processors this process may use: those that there are, or less by the quota of its
//! control group. Under half a processor it is busy with all of that, and never with half of one.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};

/// Processors, or parts of one.
pub(super) fn processors() -> f64 {
    let count = std::thread::available_parallelism().map_or(1, NonZero::get) as f64;
    quota(Path::new("/")).map_or(count, |quota| quota.min(count))
}

/// The least quota of the control group and those above it, where there is one.
fn quota(root: &Path) -> Option<f64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let quotas = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let mounted = match controllers {
            "" => root.join("sys/fs/cgroup"),
            _ if controllers.split(',').any(|controller| controller == "cpu") => {
                root.join("sys/fs/cgroup").join(controllers)
            }
            _ => return None,
        };
        above(&mounted, path).filter_map(|group| of_group(&group)).reduce(f64::min)
    });
    quotas.reduce(f64::min)
}

/// A group's folder, and those above it to the mount: in a container that may be the only one there is.
fn above(mounted: &Path, path: &str) -> impl Iterator<Item = PathBuf> {
    let own = mounted.join(path.trim_start_matches('/'));
    let mounted = mounted.to_owned();
    let folders: Vec<_> = own.ancestors().map(Path::to_owned).collect();
    folders.into_iter().take_while(move |folder| folder.starts_with(&mounted))
}

fn of_group(folder: &Path) -> Option<f64> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let (quota, period) = match read("cpu.max") {
        Some(text) => {
            let (quota, period) = text.trim().split_once(' ')?;
            (quota.to_owned(), period.to_owned())
        }
        None => (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?),
    };
    // `max`, or -1: none.
    let (quota, period): (f64, f64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> Option<f64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        quota(root.path())
    }

    #[test]
    fn a_quota_is_that_of_the_group_or_one_above_it() {
        let own = ("proc/self/cgroup", "0::/a/b\n");
        assert_eq!(machine(&[]), None);
        assert_eq!(machine(&[own]), None);
        assert_eq!(machine(&[own, ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n")]), None);
        let half = ("sys/fs/cgroup/a/b/cpu.max", "50000 100000\n");
        assert_eq!(machine(&[own, half]), Some(0.5));
        assert_eq!(
            machine(&[own, half, ("sys/fs/cgroup/a/cpu.max", "25000 100000\n")]),
            Some(0.25)
        );
        // What a container sees of its own.
        assert_eq!(machine(&[own, ("sys/fs/cgroup/cpu.max", "150000 100000\n")]), Some(1.5));
    }

    #[test]
    fn of_version_1_too() {
        let own = ("proc/self/cgroup", "3:memory:/a\n2:cpu,cpuacct:/a\n0::/\n");
        let period = ("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
        let file = "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us";
        assert_eq!(machine(&[own, period, (file, "20000\n")]), Some(0.2));
        assert_eq!(machine(&[own, period, (file, "-1\n")]), None);
    }

    #[test]
    fn there_is_always_some() {
        assert!(processors() > 0.0);
    }
}
