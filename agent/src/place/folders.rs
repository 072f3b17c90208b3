//! Which folders files may be replaced in: those that nobody but root and the agent can put anything into. A key in any other would be as good as given away.

use std::{io, os::unix::fs::MetadataExt as _, path::Path};

use super::FileError;

/// Looks at a folder, and at all that lead to it.
///
/// # Errors
/// If others may put something into it, or put another in its place. Says what to do.
pub(super) fn check(folder: &Path) -> Result<(), FileError> {
    let agent = rustix::process::geteuid().as_raw();
    for (depth, one) in folder.ancestors().enumerate() {
        let metadata = std::fs::metadata(one)
            .map_err(|source| FileError::new("look at the folder", one, source))?;
        judge(metadata.uid(), metadata.mode(), depth == 0, agent).map_err(|why| {
            let path = one.display();
            let cure = match why {
                Why::Owner(user) => format!(
                    "it belongs to the user {user}, who could read or replace the key: give it away with `chown {agent} {path}`"
                ),
                Why::Mode(mode) => format!(
                    "it has mode {mode:04o}, so that others than its owner could replace the key: set it right with `chmod go-w {path}`"
                ),
            };
            let cure = io::Error::other(format!("{cure}, or configure another folder"));
            FileError::new("write files into or below", one, cure)
        })?;
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Why {
    Owner(u32),
    Mode(u32),
}

/// `itself`: the folder that is written into, not one that leads to it.
const fn judge(owner: u32, mode: u32, itself: bool, agent: u32) -> Result<(), Why> {
    if owner != 0 && owner != agent {
        return Err(Why::Owner(owner));
    }
    // In a sticky folder like /tmp others may make files, but not move those of root and the agent.
    let sticky = mode & 0o1000 != 0 && !itself;
    if mode & 0o022 != 0 && !sticky {
        return Err(Why::Mode(mode & 0o7777));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_root_and_the_agent_are_written_into() {
        const AGENT: u32 = 990;
        for mode in [0o700, 0o710, 0o750, 0o755] {
            for owner in [0, AGENT] {
                assert_eq!(judge(owner, 0o40_000 | mode, true, AGENT), Ok(()));
            }
            assert_eq!(judge(1000, mode, true, AGENT), Err(Why::Owner(1000)));
            assert_eq!(judge(1000, mode, false, AGENT), Err(Why::Owner(1000)));
        }
        for mode in [0o775, 0o757, 0o777, 0o770] {
            assert_eq!(judge(0, mode, true, AGENT), Err(Why::Mode(mode)));
            assert_eq!(judge(0, mode, false, AGENT), Err(Why::Mode(mode)));
        }
        // /tmp itself will not do; a folder in it will.
        assert_eq!(judge(0, 0o1777, true, AGENT), Err(Why::Mode(0o1777)));
        assert_eq!(judge(0, 0o1777, false, AGENT), Ok(()));
    }
}
