//! How a key becomes a path below the bucket's folder, and back.
//!
//! Three things are asked of the encoding: no key can name anything outside its bucket (`..`, `.`, empty
//! segments, a leading slash are ordinary bytes of a key), every key up to S3's 1,024 bytes has a path although
//! file names end at 255, and a folder read in isolation can be sorted into the order of the whole keys.
//!
//! A key is cut at `/`. A segment becomes a folder, the last one a file whose name ends in `@`, so an object `a`
//! lies beside the folder of `a/b`. Letters, digits, `-`, `_`, `~` and a `.` that is not the first character are
//! themselves; other bytes are `%XX`. An empty (rest of a) segment is `%-`. A segment of [`PIECE_BYTES`] or
//! more is cut: its first piece is a folder whose name ends in `%+`, and the rest is within. So all that begins
//! with those bytes is in one folder, whatever follows, and siblings never interleave.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Bytes of a segment that fit in one file name: three characters each when escaped, and a suffix, stay below 255.
pub(super) const PIECE_BYTES: usize = 80;

const OBJECT_SUFFIX: &str = "@";
const MORE_SUFFIX: &str = "%+";
const EMPTY: &str = "%-";

/// The path of `key` relative to its bucket's folder.
pub(super) fn to_path(key: &str) -> PathBuf {
    let mut path = PathBuf::new();
    let mut segments = key.as_bytes().split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let mut rest = segment;
        while rest.len() >= PIECE_BYTES {
            let (piece, after) = rest.split_at(PIECE_BYTES);
            path.push(escape(piece) + MORE_SUFFIX);
            rest = after;
        }
        let mut name = escape(rest);
        if segments.peek().is_none() {
            name.push_str(OBJECT_SUFFIX);
        }
        path.push(name);
    }
    path
}

/// What a name in a bucket's folder stands for: the bytes it adds to the key. They end in `/` for a folder, are
/// [`PIECE_BYTES`] long without a `/` for a piece of a segment, and otherwise end an object's key.
/// `None` for a name that no key has: someone else's file.
pub(super) fn from_name(name: &OsStr, is_folder: bool) -> Option<Vec<u8>> {
    let name = std::str::from_utf8(name.as_bytes()).ok()?;
    let (stem, suffix) = match (is_folder, name.strip_suffix(MORE_SUFFIX)) {
        (true, Some(stem)) => (stem, MORE_SUFFIX),
        (true, None) => (name, ""),
        (false, _) => (name.strip_suffix(OBJECT_SUFFIX)?, OBJECT_SUFFIX),
    };
    let mut bytes = unescape(stem)?;
    // One name per key: what is not written as we would write it is not ours.
    if escape(&bytes) != stem || (bytes.len() >= PIECE_BYTES) != (suffix == MORE_SUFFIX) {
        return None;
    }
    if suffix == MORE_SUFFIX && bytes.len() != PIECE_BYTES {
        return None;
    }
    if suffix.is_empty() {
        bytes.push(b'/');
    }
    Some(bytes)
}

/// The name in a folder of what [`from_name`] returned.
pub(super) fn to_name(added: &[u8]) -> String {
    match kind(added) {
        Kind::Folder => escape(&added[..added.len() - 1]),
        Kind::Piece => escape(added) + MORE_SUFFIX,
        Kind::Object => escape(added) + OBJECT_SUFFIX,
    }
}

/// What the bytes that a name adds to a key say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Folder,
    Piece,
}

/// The kind of what [`from_name`] returned.
pub(super) fn kind(added: &[u8]) -> Kind {
    if added.last() == Some(&b'/') {
        Kind::Folder
    } else if added.len() == PIECE_BYTES {
        Kind::Piece
    } else {
        Kind::Object
    }
}

/// The part of `rest` (what is left of a key within a folder) that decides which name of the folder to look at.
pub(super) fn first_step(rest: &[u8]) -> &[u8] {
    let segment = rest.iter().position(|byte| *byte == b'/');
    match segment {
        Some(end) if end < PIECE_BYTES => &rest[..=end],
        None if rest.len() < PIECE_BYTES => rest,
        _ => &rest[..PIECE_BYTES],
    }
}

/// The folders of `path` between the bucket's folder (not included) and the file, outermost first.
pub(super) fn folders(bucket: &Path, path: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        path.ancestors().skip(1).take_while(|folder| *folder != bucket).map(Path::to_path_buf).collect();
    folders.reverse();
    folders
}

fn escape(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if bytes.is_empty() {
        return EMPTY.to_owned();
    }
    let mut name = String::with_capacity(bytes.len() + 8);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => name.push(char::from(*byte)),
            b'.' if at > 0 => name.push('.'),
            _ => {
                name.push('%');
                name.push(char::from(HEX[usize::from(byte >> 4)]));
                name.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    name
}

fn unescape(name: &str) -> Option<Vec<u8>> {
    if name == EMPTY {
        return Some(Vec::new());
    }
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    (!bytes.is_empty()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn back(path: &Path) -> Vec<u8> {
        let count = path.components().count();
        let mut key = Vec::new();
        for (at, part) in path.components().enumerate() {
            let std::path::Component::Normal(name) = part else { panic!("{part:?} leaves the folder") };
            assert!(name.len() <= 255, "{} bytes of file name", name.len());
            key.extend(from_name(name, at + 1 < count).expect("a name of ours"));
        }
        key
    }

    #[test]
    fn keys_that_try_to_leave_stay() {
        for key in [
            "..",
            ".",
            "../../etc/passwd",
            "/",
            "//",
            "/a",
            "a//b",
            "a/",
            "a/../b",
            "%2E%2E",
            "a@",
            "a%+",
            "\0",
            "é/☃",
        ] {
            assert_eq!(back(&to_path(key)), key.as_bytes(), "{key:?}");
        }
        assert_eq!(to_path("a"), Path::new("a@"));
        assert_eq!(to_path("a/b.txt"), Path::new("a/b.txt@"));
        assert_eq!(to_path(".."), Path::new("%2E.@"));
    }

    #[test]
    fn long_keys_have_a_path() {
        for key in ["x".repeat(1024), "ü".repeat(512), "/".repeat(1024), "x".repeat(80), "x".repeat(79)] {
            let path = to_path(&key);
            assert_eq!(back(&path), key.as_bytes());
            assert!(path.as_os_str().len() < 3300, "{}", path.as_os_str().len());
        }
    }

    #[test]
    fn foreign_names_are_not_keys() {
        for (name, folder) in [
            ("notes.txt", false),
            (".git", true),
            ("a b", true),
            ("%2e", true),
            ("%4A@", false),
            ("@", false),
        ] {
            assert_eq!(from_name(OsStr::new(name), folder), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_key_returns(key in "[a./%@é\u{0}-]{1,200}") {
            prop_assert_eq!(back(&to_path(&key)), key.as_bytes());
        }

        #[test]
        fn names_return(key in "\\PC{1,100}") {
            let path = to_path(&key);
            let count = path.components().count();
            for (at, part) in path.iter().enumerate() {
                let added = from_name(part, at + 1 < count).unwrap();
                let name = to_name(&added);
                prop_assert_eq!(OsStr::new(&name), part);
            }
        }
    }
}
