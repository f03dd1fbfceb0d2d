//! The key of history's hashes: from the configuration, else from its file, else made once.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::base::hash::HashKey;
use crate::config;

/// The key that `history` names; its file is made, readable by its owner alone, when it is not there.
pub(crate) fn hash_key(history: &config::History) -> anyhow::Result<HashKey> {
    if let Some(secret) = &history.hash_key {
        return parse(secret.expose()).context("history.hash_key must be 32 hexadecimal digits");
    }
    let path = &history.hash_key_file;
    match fs::read_to_string(path) {
        Ok(text) => parse(text.trim()).with_context(|| {
            let shown = path.display();
            format!("{shown} must hold 32 hexadecimal digits; restore it, or remove it and rebuild the history")
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => make(path),
        Err(error) => Err(error).with_context(|| format!("history.hash_key_file {} cannot be read", path.display())),
    }
}

fn parse(text: &str) -> Option<HashKey> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(|number| HashKey::new(number.to_be_bytes()))
}

fn make(path: &Path) -> anyhow::Result<HashKey> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("the kernel gives no random bytes")?;
    if bytes == [0; 16] {
        bail!("the kernel gives no random bytes");
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    let text = format!("{:032x}\n", u128::from_be_bytes(bytes));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .with_context(|| format!("history.hash_key_file {} cannot be made", path.display()))?;
    tracing::info!(file = %path.display(), "made the key of history's hashes");
    Ok(HashKey::new(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::Config;

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/history.key");
        let toml = format!("[history]\nhash_key_file = {:?}", path.display().to_string());
        let config = Config::parse(&toml, std::iter::empty()).unwrap();
        let made = hash_key(&config.history).unwrap();
        assert!(made == hash_key(&config.history).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "short").unwrap();
        assert!(hash_key(&config.history).unwrap_err().to_string().contains("32 hexadecimal digits"));
    }

    #[test]
    fn the_configured_key_wins() {
        let config =
            Config::parse("[history]\nhash_key = \"000102030405060708090a0b0c0d0e0f\"", std::iter::empty()).unwrap();
        let expected = HashKey::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert!(hash_key(&config.history).unwrap() == expected);
    }
}
