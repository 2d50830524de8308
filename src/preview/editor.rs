//! The author's editor: how it is told to open a file at a line.
//!
//! The command is run as it is, word by word: no shell sees it, nor what a browser sent.

use std::path::Path;
use std::process::Stdio;

/// Where the command is looked for, first to last.
const VARIABLES: [&str; 3] = ["BAKE_EDITOR", "VISUAL", "EDITOR"];

/// How an editor is told where to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `--goto FILE:LINE:COLUMN`.
    Goto,
    /// `FILE:LINE:COLUMN`.
    Colons,
    /// `+LINE FILE`.
    Plus,
    /// `+LINE:COLUMN FILE`.
    PlusColumn,
    /// `+LINE,COLUMN FILE`.
    PlusComma,
    /// `--line LINE --column COLUMN FILE`.
    Flags,
    /// `-l LINE -c COLUMN FILE`.
    ShortFlags,
}

/// Editors by program: how they are told, and whether they need a terminal.
const KNOWN: [(&[&str], Way, bool); 9] = [
    (
        &["code", "code-insiders", "code-oss", "codium", "vscodium", "cursor", "windsurf", "positron"],
        Way::Goto,
        false,
    ),
    (&["subl", "sublime_text", "zed", "zeditor", "zedit", "lapce", "atom", "pulsar"], Way::Colons, false),
    (&["hx", "helix"], Way::Colons, true),
    (&["vim", "vi", "nvim", "view", "joe", "jed", "mg", "ne"], Way::Plus, true),
    (&["gvim", "mvim", "neovide", "bbedit"], Way::Plus, false),
    (&["emacs", "emacsclient", "gedit", "gnome-text-editor", "xed", "pluma"], Way::PlusColumn, false),
    (&["micro", "kak"], Way::PlusColumn, true),
    (&["nano", "pico"], Way::PlusComma, true),
    (&["kate", "kwrite", "mate"], Way::ShortFlags, false),
];

/// The editors of JetBrains, which share their command line.
const JETBRAINS: [&str; 11] = [
    "idea",
    "webstorm",
    "phpstorm",
    "pycharm",
    "rubymine",
    "clion",
    "goland",
    "rider",
    "rustrover",
    "dataspell",
    "fleet",
];

/// An editor, by the command that starts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Editor {
    words: Vec<String>,
}

impl Editor {
    /// The editor that the environment names, if it can be started without a terminal of its own.
    ///
    /// # Errors
    /// Says why none can be started, and what to do about it.
    pub fn find(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let found = VARIABLES.iter().find_map(|name| {
            variable(name).filter(|command| !command.trim().is_empty()).map(|command| (*name, command))
        });
        let Some((name, command)) = found else {
            return Err("set BAKE_EDITOR to your editor's command to have it opened".into());
        };
        let words =
            words(&command).ok_or_else(|| format!("{name} has a quotation mark without its second"))?;
        let editor = Self { words };
        match editor.known() {
            // Behind another program, such as a terminal or tmux, it has what it needs.
            Some((0, _, true)) if !editor.has_window() => Err(format!(
                "{} needs a terminal: set BAKE_EDITOR to a command that brings one, such as `xterm -e {}`",
                editor.words[0], editor.words[0]
            )),
            _ => Ok(editor),
        }
    }

    /// Which word is the program of an editor that is known, how it is told, and whether it needs a terminal.
    fn known(&self) -> Option<(usize, Way, bool)> {
        self.words.iter().enumerate().rev().find_map(|(i, word)| {
            let name = Path::new(word).file_name()?.to_str()?;
            let name = name.strip_suffix(".sh").unwrap_or(name);
            if JETBRAINS.contains(&name) {
                return Some((i, Way::Flags, false));
            }
            let (_, way, in_terminal) = KNOWN.iter().find(|(names, _, _)| names.contains(&name))?;
            // Without a window of its own it is one more editor for terminals.
            let in_terminal =
                *in_terminal || self.words.iter().any(|w| matches!(&**w, "-nw" | "-t" | "-tty"));
            Some((i, *way, in_terminal))
        })
    }

    /// Whether an editor for terminals was told to open a window.
    fn has_window(&self) -> bool {
        self.words.iter().any(|word| matches!(&**word, "-g" | "--remote" | "--server"))
    }

    /// The words that open a file.
    fn command(&self, file: &str, line: u32, column: u32) -> Vec<String> {
        let mut words = self.words.clone();
        if words.iter().any(|word| word.contains("{file}")) {
            for word in &mut words {
                *word = word
                    .replace("{line}", &line.to_string())
                    .replace("{column}", &column.to_string())
                    .replace("{file}", file);
            }
            return words;
        }
        let file = file.to_owned();
        words.extend(match self.known().map(|(_, way, _)| way) {
            None => vec![file],
            Some(Way::Goto) => vec!["--goto".into(), format!("{file}:{line}:{column}")],
            Some(Way::Colons) => vec![format!("{file}:{line}:{column}")],
            Some(Way::Plus) => vec![format!("+{line}"), file],
            Some(Way::PlusColumn) => vec![format!("+{line}:{column}"), file],
            Some(Way::PlusComma) => vec![format!("+{line},{column}"), file],
            Some(Way::Flags) => {
                vec!["--line".into(), line.to_string(), "--column".into(), column.to_string(), file]
            }
            Some(Way::ShortFlags) => {
                vec!["-l".into(), line.to_string(), "-c".into(), column.to_string(), file]
            }
        });
        words
    }

    /// Opens a file at a line and a column, both from 1; does not wait for the editor to end.
    ///
    /// # Errors
    /// Where the command cannot be started.
    pub fn open(&self, file: &Path, line: u32, column: u32) -> Result<(), String> {
        let Some(file) = file.to_str() else { return Err("the path is not valid UTF-8".into()) };
        let words = self.command(file, line, column);
        let (program, args) = words.split_first().ok_or("the command is empty")?;
        let mut command = tokio::process::Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Ctrl-C ends the preview, and must not end the editor.
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| format!("`{program}` cannot be started: {error}"))?;
        let program = program.clone();
        tokio::spawn(async move {
            match child.wait().await {
                Ok(status) if status.success() => {}
                Ok(status) => tracing::warn!(program, %status, "the editor failed"),
                Err(error) => tracing::warn!(program, %error, "the editor cannot be waited for"),
            }
        });
        Ok(())
    }
}

/// The words of a command, as a shell reads quotation marks and backslashes; none where a mark is not closed.
fn words(command: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = command.chars();
    while let Some(c) = letters.next() {
        match (quote, c) {
            (Some(mark), c) if c == mark => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().push(letters.next()?),
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(command: &str) -> Result<Editor, String> {
        Editor::find(|name| (name == "EDITOR").then(|| command.to_owned()))
    }

    #[test]
    fn editors_are_told_in_their_own_way() {
        for (command, told) in [
            ("code --wait", "code --wait --goto /s/a b.md:7:2"),
            ("/usr/bin/subl", "/usr/bin/subl /s/a b.md:7:2"),
            ("zed", "zed /s/a b.md:7:2"),
            ("gvim", "gvim +7 /s/a b.md"),
            ("kitty nvim", "kitty nvim +7 /s/a b.md"),
            ("tmux new-window hx", "tmux new-window hx /s/a b.md:7:2"),
            ("emacsclient -n", "emacsclient -n +7:2 /s/a b.md"),
            ("xterm -e nano", "xterm -e nano +7,2 /s/a b.md"),
            ("idea.sh", "idea.sh --line 7 --column 2 /s/a b.md"),
            ("kate", "kate -l 7 -c 2 /s/a b.md"),
            ("my-own", "my-own /s/a b.md"),
            ("my-own '--at={line}' -c {column} {file}", "my-own --at=7 -c 2 /s/a b.md"),
        ] {
            assert_eq!(find(command).unwrap().command("/s/a b.md", 7, 2).join(" "), told, "{command}");
        }
    }

    #[test]
    fn what_cannot_be_started_says_what_to_do() {
        for command in ["vim", "/usr/bin/nano", "emacs -nw", "emacsclient -t", "hx"] {
            let why = find(command).unwrap_err();
            assert!(why.contains("needs a terminal") && why.contains("BAKE_EDITOR"), "{command}: {why}");
        }
        assert!(Editor::find(|_| None).unwrap_err().contains("BAKE_EDITOR"));
        assert!(find("code 'x").unwrap_err().contains("EDITOR"));
        let first = Editor::find(|name| Some(if name == "BAKE_EDITOR" { "zed" } else { "vim" }.to_owned()));
        assert_eq!(first.unwrap().words, ["zed"]);
    }

    #[test]
    fn words_are_split_as_a_shell_does() {
        assert_eq!(words(r#"a  "b c" d\ e 'f "g'x """#).unwrap(), ["a", "b c", "d e", "f \"gx", ""]);
        assert_eq!(words("'a"), None);
    }
}
