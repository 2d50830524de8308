//! What the compiler does not see by itself.
//!
//! The built-in theme is a part of the program: a file that is added to it, and not only one that is changed, must build
//! the program anew. And what one build of the program remembers of a render is of no use to another: a digest of all
//! that the renderer is made of tells them apart. Highlighted code outlives more of them: its digest is of the highlighter.

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
    let mut highlighter = DefaultHasher::new();
    add(Path::new("src/highlight"), &mut highlighter)?;
    let lock = fs::read_to_string("../Cargo.lock")?;
    let is_part =
        |package: &&str| ["arborium", "tree-sitter", "postcard"].iter().any(|name| is_of(package, name));
    lock.split("\n\n").filter(is_part).for_each(|package| package.hash(&mut highlighter));
    println!("cargo:rustc-env=BAKEHOUSE_HIGHLIGHTER={:016x}", highlighter.finish());
    Ok(())
}

/// Whether an entry of `Cargo.lock` is of a package whose name begins so.
fn is_of(entry: &str, name: &str) -> bool {
    entry.contains(&format!("name = \"{name}"))
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
