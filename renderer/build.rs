//! The built-in theme is a part of the program: a file that is added to it, and not only one that is
//! changed, must build the program anew, which `include_dir!` alone does not see.

fn main() {
    println!("cargo:rerun-if-changed=theme");
    println!("cargo:rerun-if-changed=builtin");
}
