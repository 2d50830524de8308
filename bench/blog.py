"""Writes a blog to measure with: the same arguments give the same bytes.

    python3 bench/blog.py PAGES FOLDER [--no-code]

Up to 20 sections, newest first and paginated, three tags a post, a feed, a sitemap, and two code blocks a post, each
different, in eight languages. No templates: the built-in theme is what is measured.
"""

import argparse
import pathlib
import random

WORDS = (
    "flour water salt yeast dough oven crust crumb loaf rye wheat spelt barley seed bran starter leaven proof bench scrape "
    "fold shape score steam bake cool slice toast warm dark light early late slow quick coarse fine old new first last "
    "baker miller farmer market street morning evening the a of to and in is it that for with on as by from or which when "
    "where every other most more than before after until while again"
).split()
TAGS = [f"{a}-{b}" for a in ("rye", "wheat", "spelt", "oat", "corn") for b in ("loaf", "roll", "cake", "bun", "flat", "crisp")]
CODE = {
    "rust": ("fn {a}({b}: u32) -> Option<u32> {{", "    let {a} = {b}.checked_mul({n})?;", "    // {s}", "    Some({a} + {n})", "}}"),
    "python": ("def {a}({b}):", "    # {s}", "    return [{b} * {n} for {b} in range({n})]"),
    "javascript": ("export const {a} = async ({b}) => {{", "  // {s}", "  return {b}.map((x) => x + {n});", "}};"),
    "go": ("func {a}({b} int) error {{", "\t// {s}", "\treturn fmt.Errorf(\"{s}: %d\", {b}+{n})", "}}"),
    "c": ("static int {a}(int {b}) {{", "    /* {s} */", "    return {b} ^ 0x{n};", "}}"),
    "bash": ("{a}() {{", "  # {s}", "  echo \"${{{b}:-{n}}}\" | sort -u", "}}"),
    "json": ("{{", "  \"{a}\": {{ \"{b}\": {n}, \"note\": \"{s}\" }}", "}}"),
    "toml": ("[{a}]", "# {s}", "{b} = {n}"),
}
POSTS_A_SECTION = 50
SECTIONS_MAX = 20


def sentence(rng):
    words = [rng.choice(WORDS) for _ in range(rng.randint(7, 16))]
    if rng.random() < 0.3:
        i = rng.randrange(len(words))
        words[i] = rng.choice(("**{}**", "*{}*", "`{}`", "[{}](https://example.org/)")).format(words[i])
    return " ".join(words).capitalize() + "."


def code(rng):
    language = rng.choice(sorted(CODE))
    lines = []
    for _ in range(rng.randint(2, 6)):
        names = dict(a=f"{rng.choice(WORDS[:20])}_{rng.randint(1, 999)}", b=rng.choice(WORDS[:20]), n=rng.randint(2, 999), s=sentence(rng)[:40].replace('"', "'").replace("`", ""))
        lines += [line.format(**names) for line in CODE[language]]
    return f"```{language}\n" + "\n".join(lines) + "\n```\n"


def title(number, edit=0):
    return f"Post {number}" + (f", edit {edit}" if edit else "")


def post(number, sections, with_code=True, title_edit=0, body_edit=0):
    """The text of a post; the edits are numbers that show in its title and at its end."""
    rng = random.Random(number)
    tags = ", ".join(f'"{t}"' for t in rng.sample(TAGS, 3))
    day = f"{2010 + number % 15}-{1 + number % 12:02}-{1 + number % 28:02}"
    parts = [f'+++\ntitle = "{title(number, title_edit)}"\ndate = {day}\n[taxonomies]\ntags = [{tags}]\n+++\n']
    for part in range(4):
        parts.append(f"## {rng.choice(WORDS).capitalize()} {rng.choice(WORDS)} {part}\n")
        parts += [" ".join(sentence(rng) for _ in range(4)) + "\n" for _ in range(2)]
        if part == 1:
            parts.append("\n".join(f"- {sentence(rng)}" for _ in range(4)) + "\n")
        if part >= 2 and with_code:
            parts.append(code(rng))
    if body_edit:
        parts.append(f"This is body edit {body_edit} of post {number}.\n")
    return "\n".join(parts)


def place(number, sections):
    """The path of a post, below content/ and on the site, without ending."""
    return f"s{number % sections}/p{number}"


def sections_of(pages):
    return min(SECTIONS_MAX, max(1, pages // POSTS_A_SECTION))


def write(folder, pages, with_code=True):
    folder = pathlib.Path(folder)
    sections = sections_of(pages)
    content = folder / "content"
    content.mkdir(parents=True)
    (folder / "zola.toml").write_text(
        'base_url = "https://bench.example"\ntitle = "Bench"\ngenerate_feeds = true\nfeed_limit = 20\n'
        'taxonomies = [{ name = "tags", paginate_by = 20 }]\n\n[markdown.highlighting]\ntheme = "github-dark"\n'
    )
    (content / "_index.md").write_text('+++\ntitle = "Bench"\n+++\nA blog to measure with.\n')
    for s in range(sections):
        (content / f"s{s}").mkdir()
        (content / f"s{s}/_index.md").write_text(f'+++\ntitle = "Section {s}"\nsort_by = "date"\npaginate_by = 20\n+++\n')
    for number in range(pages):
        (content / f"{place(number, sections)}.md").write_text(post(number, sections, with_code))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", type=int)
    parser.add_argument("folder")
    parser.add_argument("--no-code", action="store_true")
    options = parser.parse_args()
    write(options.folder, options.pages, not options.no_code)
