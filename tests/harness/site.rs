//! Sites to test with.

use super::world::World;

/// A page's file.
pub fn page(title: &str, body: &str) -> String {
    format!("+++\ntitle = \"{title}\"\n+++\n{body}\n")
}

/// Two sections, four pages, a static file; the built-in theme.
pub fn small(world: &World, at: &str) {
    let write = |path: &str, text: &str| world.write(&format!("{at}/{path}"), text);
    write(
        "zola.toml",
        "base_url = \"https://bread.example\"\ntitle = \"Bread\"\ngenerate_feeds = true\n\
         taxonomies = [{ name = \"tags\" }]\n",
    );
    write("content/_index.md", "+++\ntitle = \"Bread\"\n+++\nFresh daily.\n");
    write("content/about.md", &page("About", "Two ovens, one baker."));
    write("content/blog/_index.md", "+++\ntitle = \"Blog\"\nsort_by = \"date\"\n+++\n");
    for (number, word) in ["first", "second", "third"].iter().enumerate() {
        write(
            &format!("content/blog/{word}.md"),
            &format!(
                "+++\ntitle = \"The {word}\"\ndate = 2024-01-0{}\n[taxonomies]\ntags = [\"rye\"]\n+++\n\
                 This is the {word} post.\n",
                number + 1
            ),
        );
    }
    write("static/plain.txt", "plain text\n");
}
