//! `bake new`: a site, a section or a page to begin with.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use jiff::civil::Date;
use renderer::data::DataSet;
use renderer::{BaseUrl, Renderer};

use crate::failure::{HintExt, Usage};
use crate::print::say;
use crate::render::{self, Folder};

/// Begin a site, a section or a page
#[derive(Debug, clap::Args)]
pub struct NewArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A site in a folder that is new or empty, but for hidden files
    Site {
        /// Where
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Its title [default: the folder's name]
        #[arg(long, value_name = "TEXT")]
        title: Option<String>,
        /// Where it will be found
        #[arg(long, value_name = "URL", default_value = "https://example.com")]
        base_url: String,
    },
    /// A page: `bake new page blog/hello` makes `content/blog/hello.md`
    Page {
        #[command(flatten)]
        content: ContentArgs,
        /// Keep it out of the site until the line is removed
        #[arg(long)]
        draft: bool,
        /// In a folder of its own, for images and other files beside it
        #[arg(long)]
        bundle: bool,
    },
    /// A section: `bake new section blog` makes `content/blog/_index.md`
    Section {
        #[command(flatten)]
        content: ContentArgs,
    },
}

#[derive(Debug, clap::Args)]
struct ContentArgs {
    /// Its place below `content/`
    #[arg(value_name = "PATH")]
    path: String,
    /// Its title [default: made of the path]
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Folder that holds `content/`
    #[arg(long = "in", value_name = "SITE", default_value = ".")]
    site: PathBuf,
}

/// Runs the command.
pub async fn run(args: NewArgs) -> anyhow::Result<()> {
    let now = jiff::Timestamp::now();
    // Dates are read in UTC: east of it, the author's own day may be yet to come there, and would withhold the page.
    let today =
        [jiff::tz::TimeZone::system(), jiff::tz::TimeZone::UTC].map(|zone| zone.to_datetime(now).date());
    let today = today[0].min(today[1]);
    match args.what {
        What::Site { folder, title, base_url } => site(&folder, title, &base_url, today),
        What::Page { content, draft, bundle } => page(&content, draft, bundle, today),
        What::Section { content } => section(&content),
    }
}

fn site(folder: &Path, title: Option<String>, base_url: &str, today: Date) -> anyhow::Result<()> {
    if !base_url.starts_with("https://") && !base_url.starts_with("http://") {
        return Err(Usage(format!("--base-url `{base_url}` does not begin with https:// or http://")).into());
    }
    let shown = folder.display();
    let is_hidden = |entry: fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(b".");
    // That of a repository has `.git`.
    match fs::read_dir(folder)
        .and_then(|mut entries| entries.try_fold(true, |all, e| Ok(all & is_hidden(e?))))
    {
        Ok(true) => {}
        Ok(false) => {
            return Err(anyhow::anyhow!("`{shown}` is not empty"))
                .hint(|| "name a folder that is new; pages of a site are made by `bake new page`".into());
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("`{shown}` cannot be read")),
    }
    // `.` has a name too.
    let whole = std::path::absolute(folder).unwrap_or_default();
    let name = || whole.file_name().map(|name| name.to_string_lossy().into_owned());
    let title = title.or_else(name).unwrap_or_else(|| "A new site".to_owned());
    let files = [
        (
            "zola.toml",
            format!(
                "base_url = {}\ntitle = {}\ngenerate_feeds = true\ntaxonomies = [{{ name = \"tags\" }}]\n",
                quoted(base_url),
                quoted(&title)
            ),
        ),
        (
            "bakehouse.toml",
            "# How this site is run. Every key has a default. With this file, a page with a future `date` is published at that\n\
             # moment by itself, and a missing image is an error.\n"
                .to_owned(),
        ),
        (".gitignore", ".bakehouse/\npublic/\n".to_owned()),
        ("content/_index.md", format!("+++\ntitle = {}\n+++\n", quoted(&title))),
        ("content/posts/_index.md", "+++\ntitle = \"Posts\"\nsort_by = \"date\"\npaginate_by = 20\n+++\n".to_owned()),
        (
            "content/posts/first.md",
            format!(
                "+++\ntitle = \"First post\"\ndate = {today}\n[taxonomies]\ntags = [\"news\"]\n+++\n\nFresh bread daily.\n"
            ),
        ),
    ];
    for (path, text) in files {
        let file = folder.join(path);
        if path != ".gitignore" || file.symlink_metadata().is_err() {
            write(&file, &text)?;
        }
    }
    let shown = shown.to_string();
    let is_plain = shown.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c));
    let shown = if is_plain { shown } else { format!("'{}'", shown.replace('\'', "'\\''")) };
    say!("next: bake up {shown}");
    Ok(())
}

fn page(args: &ContentArgs, draft: bool, bundle: bool, today: Date) -> anyhow::Result<()> {
    let (folder, name, bundle) = match place(args)? {
        (folder, name) if name == "_index" => {
            let section = folder.strip_prefix(args.site.join("content")).unwrap_or(&folder).display();
            return Err(anyhow::anyhow!("`{}` is the file of a section", args.path))
                .hint(|| format!("begin one with `bake new section {section}`"));
        }
        // `blog/rye/index` is the bundle `blog/rye`.
        (folder, name) if name == "index" => {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (folder.parent().unwrap_or(&folder).to_owned(), name, true)
        }
        (folder, name) => (folder, name, bundle),
    };
    let (date, rest) = renderer::dated_name(&name).unwrap_or_else(|| (today.to_string().into(), &name));
    let title = args.title.clone().unwrap_or_else(|| title_of(rest));
    let file = if bundle { folder.join(&name).join("index.md") } else { folder.join(format!("{name}.md")) };
    refuse_address(&folder, &name, &file)?;
    let draft = if draft { "draft = true\n" } else { "" };
    let text = format!("+++\ntitle = {}\ndate = {date}\n{draft}+++\n\n", quoted(&title));
    refuse_clash(&args.site, &file, &text)?;
    write(&file, &text)?;
    note_unlisted(args, &folder, "page");
    Ok(())
}

/// Says that the folder of what is new is no section.
fn note_unlisted(args: &ContentArgs, folder: &Path, what: &str) {
    if folder != args.site.join("content") && !folder.join("_index.md").exists() {
        say!(
            "note: {} has no _index.md, so that no section lists this {what}; `bake new section` makes one",
            folder.display()
        );
    }
}

fn section(args: &ContentArgs) -> anyhow::Result<()> {
    let (mut folder, mut name) = place(args)?;
    if name == "_index" {
        name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        folder.pop();
    }
    let title = args.title.clone().unwrap_or_else(|| title_of(&name));
    let text = format!("+++\ntitle = {}\nsort_by = \"date\"\n+++\n", quoted(&title));
    let file = folder.join(&name).join("_index.md");
    refuse_address(&folder, &name, &file)?;
    refuse_clash(&args.site, &file, &text)?;
    write(&file, &text)?;
    note_unlisted(args, &folder, "section");
    Ok(())
}

/// Refuses a file whose address another one has.
fn refuse_address(folder: &Path, name: &str, file: &Path) -> anyhow::Result<()> {
    let inner = folder.join(name);
    let others = [folder.join(format!("{name}.md")), inner.join("index.md"), inner.join("_index.md")];
    match others.iter().find(|other| **other != file && other.exists()) {
        Some(other) => {
            Err(anyhow::anyhow!("`{}` is there already, and has the same address", other.display()))
                .hint(|| "edit it, or choose another name".into())
        }
        None => Ok(()),
    }
}

/// Refuses a file with which the site would not build: names that differ can have one address, and so can a term, an alias, or a
/// file of another page. Of a site that cannot be looked at, whoever builds it hears what is wrong.
fn refuse_clash(site: &Path, file: &Path, text: &str) -> anyhow::Result<()> {
    let Ok(folder) = Folder::open(site, None) else { return Ok(()) };
    let Some(path) = file.strip_prefix(site).ok().and_then(Path::to_str) else { return Ok(()) };
    let now = jiff::Timestamp::now();
    let input = folder.input(DataSet::new(), now, BaseUrl::Configured, true);
    let renderer = Renderer::for_one_render(render::ONE_RENDER_BYTES_MAX);
    match renderer.wrong_with_new(&input, path, text).first() {
        Some(wrong) => {
            let what = match wrong.message.split_once(" is also made by ") {
                Some((output, other)) => {
                    let other = if other == path { wrong.path.as_deref().unwrap_or(other) } else { other };
                    format!("{output} is made by {other} already")
                }
                None => wrong.message.clone(),
            };
            Err(anyhow::anyhow!("`{}` is not made: {what}", file.display()))
                .hint(|| "choose another name".into())
        }
        None => Ok(()),
    }
}

/// The folder and the name, without ending, of what is to be made.
fn place(args: &ContentArgs) -> anyhow::Result<(PathBuf, String)> {
    render::check_folder(&args.site)?;
    let path = args.path.strip_prefix("content/").unwrap_or(&args.path);
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix(".md").unwrap_or(path);
    let inside = Path::new(path).components().all(|part| match part {
        Component::Normal(name) => !name.to_string_lossy().starts_with('.'),
        _ => false,
    });
    if path.contains('\\') {
        let meant = args.path.replace('\\', "/");
        return Err(Usage(format!("`{}` has a backslash in it: write `{meant}`", args.path)).into());
    }
    if matches!(path, "_index" | "index") {
        return Err(anyhow::anyhow!("`{}` is the front page", args.path))
            .hint(|| "write content/_index.md, or say where below content/ it is to be".into());
    }
    let name = Path::new(path).file_name();
    if let Some(name) = name.map(|name| name.to_string_lossy()).filter(|_| inside)
        && name.chars().all(|c| c.is_ascii_punctuation() || c.is_whitespace())
    {
        return Err(anyhow::anyhow!("`{name}` leaves nothing for an address"))
            .hint(|| "name it with letters or digits, and say with --title what it is called".into());
    }
    match (inside, name) {
        (true, Some(name)) => {
            let parent = Path::new(path).parent().unwrap_or(Path::new(""));
            Ok((args.site.join("content").join(parent), name.to_string_lossy().into_owned()))
        }
        _ => Err(Usage(format!("`{}` is no place below content/, such as blog/hello", args.path)).into()),
    }
}

/// `my-first_post` → `My first post`. What ends a name as a language does, `rye.fr`, is no part of it.
fn title_of(name: &str) -> String {
    let is_language = |end: &str| end.len() == 2 && end.chars().all(|c| c.is_ascii_lowercase());
    let name = name.rsplit_once('.').filter(|(_, end)| is_language(end)).map_or(name, |(name, _)| name);
    let words = name.replace(['-', '_'], " ");
    let mut rest = words.trim().chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

/// A text as TOML has it, on one line: one of several could hold the line that ends a front matter.
fn quoted(text: &str) -> String {
    // But for this character, what JSON writes is TOML too.
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

/// Writes a file that must not be there yet.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let failed = || format!("`{}` cannot be written", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(failed)?;
    }
    match fs::File::options().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).with_context(failed)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(anyhow::anyhow!("`{}` is there already", path.display()))
                .hint(|| "edit it, or choose another name".into());
        }
        Err(error) => return Err(error).with_context(failed),
    }
    say!("made {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_come_from_names() {
        let names = [
            ("hello", "Hello"),
            ("my-first_post", "My first post"),
            ("über.de", "Über"),
            ("v1.2", "V1.2"),
            ("", ""),
        ];
        for (name, title) in names {
            assert_eq!(title_of(name), title);
        }
    }

    #[test]
    fn titles_are_quoted_as_toml_has_it() {
        for title in ["a \"b\" c", "back\\slash", "two\n+++\nlines", "'''", "\u{7f}\u{1}\t"] {
            let text = format!("title = {}", quoted(title));
            assert_eq!(text.lines().count(), 1, "{text}");
            let table: toml::Table = text.parse().unwrap();
            assert_eq!(table["title"].as_str(), Some(title), "{text}");
        }
    }
}
