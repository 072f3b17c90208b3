//! Folders that survive a power cut. What is in them is none of its business.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

/// Makes a folder and those above it that are missing, each with this mode, and makes durable that they are there.
///
/// # Errors
/// As the operating system says.
pub fn make(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = above(path);
    make(above, mode)?;
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => {
            return Err(error);
        }
        Ok(()) | Err(_) => {}
    }
    File::open(path)?.sync_all()?;
    File::open(above)?.sync_all()
}

/// The folder that this is in.
#[must_use]
pub fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        Some(_) => Path::new("."),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn all_that_is_missing_is_made_and_what_is_there_is_left() {
        let top = env::temp_dir().join(format!("convoy-host-{}", std::process::id()));
        let deep = top.join("a/b");
        make(&deep, 0o700).expect("made");
        for path in [&top, &top.join("a"), &deep] {
            let mode = fs::metadata(path).expect("is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", path.display());
        }
        make(&deep, 0o755).expect("is there");
        assert_eq!(
            fs::metadata(&deep).expect("is there").permissions().mode() & 0o777,
            0o700
        );
        fs::write(top.join("file"), "").expect("written");
        make(&top.join("file/below"), 0o700).expect_err("a file is no folder");
        fs::remove_dir_all(&top).expect("removed");
        assert_eq!(above(Path::new("a")), Path::new("."));
        assert_eq!(above(Path::new("/a")), Path::new("/"));
        assert_eq!(above(Path::new("/")), Path::new("/"));
    }
}
