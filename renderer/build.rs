//! What the compiler does not see by itself.
//!
//! The built-in theme is a part of the program: a file that is added to it, and not only one that is changed, must build
//! the program anew. And what one build of the program remembers of a render is of no use to another: a digest of all
//! that the renderer is made of tells them apart.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::{fs, io};

fn main() -> io::Result<()> {
    let mut program = DefaultHasher::new();
    for part in ["src", "theme", "builtin", "vendor", "Cargo.toml", "../Cargo.lock"] {
        println!("cargo:rerun-if-changed={part}");
        add(Path::new(part), &mut program)?;
    }
    println!("cargo:rustc-env=BAKEHOUSE_RENDERER={:016x}", program.finish());
    Ok(())
}

fn add(path: &Path, program: &mut DefaultHasher) -> io::Result<()> {
    if !path.is_dir() {
        (path, fs::read(path)?).hash(program);
        return Ok(());
    }
    let mut inside = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    inside.sort();
    inside.iter().try_for_each(|path| add(path, program))
}
