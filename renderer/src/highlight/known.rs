//! Languages that exist: a block in one of them is no slip of the author's, coloured here or not.

use crate::diagnostic::nearest;

/// Whether this is the name of a language that highlighters know, by the names of the TextMate grammars that editors share.
pub(super) fn is_language(name: &str) -> bool {
    LANGUAGES.binary_search(&name.to_ascii_lowercase().as_str()).is_ok()
}

/// The language that a name was probably meant to be.
pub(crate) fn nearest_language(name: &str) -> Option<&'static str> {
    nearest(&name.to_ascii_lowercase(), LANGUAGES.iter().copied())
}

#[rustfmt::skip]
const LANGUAGES: &[&str] = &[
    "abap", "actionscript-3", "ada", "adoc", "angular-html", "angular-ts", "apache", "apex", "apl",
    "applescript", "ara", "asciidoc", "asm", "astro", "awk", "ballerina", "bash", "bat", "batch", "beancount",
    "berry", "bibtex", "bicep", "blade", "bsl", "c", "c#", "c++", "cadence", "cairo", "clarity", "clj",
    "clojure", "cmake", "cobol", "codeowners", "codeql", "coffee", "coffeescript", "common-lisp", "console",
    "coq", "cpp", "crystal", "cs", "csharp", "css", "csv", "cue", "cypher", "d", "dart", "dax", "desktop",
    "diff", "docker", "dockerfile", "dotenv", "dream-maker", "edge", "elisp", "elixir", "elm", "emacs-lisp",
    "erb", "erl", "erlang", "f#", "f90", "fennel", "fish", "fluent", "fortran-fixed-form",
    "fortran-free-form", "fsharp", "ftl", "gdresource", "gdscript", "gdshader", "genie", "gherkin",
    "git-commit", "git-rebase", "gleam", "glimmer-js", "glimmer-ts", "glsl", "gnuplot", "go", "gql",
    "graphql", "groovy", "hack", "haml", "handlebars", "haskell", "haxe", "hbs", "hcl", "hjson", "hlsl", "hs",
    "html", "html-derivative", "http", "hurl", "hxml", "hy", "imba", "ini", "jade", "java", "javascript",
    "jinja", "jison", "jl", "js", "json", "json5", "jsonc", "jsonl", "jsonnet", "jssm", "jsx", "julia", "kdl",
    "kotlin", "kt", "kts", "kusto", "latex", "lean", "lean4", "less", "liquid", "lisp", "llvm", "log", "logo",
    "lua", "luau", "make", "makefile", "markdown", "marko", "matlab", "md", "mdc", "mdx", "mermaid",
    "mipsasm", "mojo", "move", "narrat", "nextflow", "nginx", "nim", "nix", "nu", "nushell", "objc",
    "objective-c", "objective-cpp", "ocaml", "openscad", "pascal", "perl", "perl6", "php", "pkl", "plsql",
    "po", "polar", "postcss", "powerquery", "powershell", "prisma", "prolog", "properties", "proto",
    "protobuf", "ps", "ps1", "pug", "puppet", "purescript", "py", "python", "qml", "qmldir", "qss", "r",
    "racket", "raku", "razor", "rb", "reg", "regex", "regexp", "rel", "riscv", "rosmsgs", "rs", "rst", "ruby",
    "rust", "sas", "sass", "scala", "scheme", "scss", "sdbl", "sh", "shader", "shaderlab", "shell",
    "shellscript", "shellsession", "smalltalk", "solidity", "soy", "sparql", "splunk", "sql", "ssh-config",
    "stata", "stylus", "svelte", "swift", "system-verilog", "systemd", "talonscript", "tasl", "tcl", "templ",
    "terraform", "tex", "tf", "tfvars", "toml", "ts", "ts-tags", "tsv", "tsx", "turtle", "twig", "typescript",
    "typespec", "typst", "v", "vala", "vb", "verilog", "vhdl", "vim", "viml", "vimscript", "vue", "vue-html",
    "vyper", "wasm", "wenyan", "wgsl", "wikitext", "wit", "wolfram", "xml", "xsl", "yaml", "yml", "zenscript",
    "zig", "zsh",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_in_order() {
        assert!(LANGUAGES.is_sorted());
        assert!(is_language("LaTeX") && is_language("console") && !is_language("rsut"));
    }
}
