//! The machine line of the table: figures mean little without it.

use std::path::Path;

use crate::server::run;

/// Cores, memory, kernel, disk, date and commit, in one line.
pub(crate) fn describe(work: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = rustix::system::sysinfo().totalram >> 30;
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let folder = work.to_string_lossy();
    let or_unknown = |text: crate::Result<String>| text.unwrap_or_else(|_| "unknown".into());
    let disk =
        or_unknown(run("findmnt", &["--noheadings", "--output=FSTYPE", "--target", &folder]));
    let date = or_unknown(run("date", &["--utc", "+%Y-%m-%d %H:%M UTC"]));
    let project = crate::project();
    let project = project.to_string_lossy();
    let git = |arguments: &[&str]| run("git", &[&["-C", &project], arguments].concat());
    let commit = or_unknown(git(&["rev-parse", "--short=12", "HEAD"]));
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    let changed = if changed.is_ok_and(|text| text.is_empty()) { "" } else { " with changes" };
    format!(
        "{cores} cores, {memory} GiB memory, Linux {kernel}, work folder on {disk} ({}), {date}, \
         commit {commit}{changed}",
        drive(work)
    )
}

/// Kind of drive below a folder: rotating, solid state, or none that the kernel names.
fn drive(folder: &Path) -> &'static str {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = folder.metadata() else { return "unknown drive" };
    let (major, minor) = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
    let device = format!("/sys/dev/block/{major}:{minor}");
    let asked = ["queue/rotational", "../queue/rotational"]
        .into_iter()
        .find_map(|file| std::fs::read_to_string(Path::new(&device).join(file)).ok());
    match asked.as_deref().map(str::trim) {
        Some("0") => "solid state or virtual",
        Some(_) => "rotating, as the kernel says",
        None => "no drive",
    }
}
