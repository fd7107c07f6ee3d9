//! Where data lies on this machine.

use std::path::{Path, PathBuf};

/// The data root: `flag` (`--data-root`), else the environment's `REGLAB_DATA`, else the folder `data`.
pub fn data_root(flag: Option<&Path>) -> PathBuf {
    choose(flag, std::env::var_os("REGLAB_DATA").map(PathBuf::from))
}

fn choose(flag: Option<&Path>, environment: Option<PathBuf>) -> PathBuf {
    let environment = environment.filter(|path| !path.as_os_str().is_empty());
    flag.map(Path::to_owned).or(environment).unwrap_or_else(|| "data".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_environment_over_the_default() {
        assert_eq!(choose(Some(Path::new("a")), Some("b".into())), Path::new("a"));
        assert_eq!(choose(None, Some("b".into())), Path::new("b"));
        assert_eq!(choose(None, Some("".into())), Path::new("data"));
        assert_eq!(choose(None, None), Path::new("data"));
    }
}
