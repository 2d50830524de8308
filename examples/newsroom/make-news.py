#!/usr/bin/env python3
"""Makes and edits news.db, the newsroom's stories.

    python3 make-news.py                      make it anew, as it is in the repository
    python3 make-news.py add TITLE [TEXT]     add a story, published now
    python3 make-news.py add --in 30 TITLE    add a story that publishes itself in 30 seconds
    python3 make-news.py edit SLUG TEXT       replace a story's text
    python3 make-news.py remove SLUG          remove a story
    python3 make-news.py list                 list slugs and titles
"""

import argparse
import datetime
import pathlib
import re
import sqlite3
import sys

DATABASE = pathlib.Path(__file__).parent / "news.db"

# Nothing here forbids an empty title: the renderer must live with what a database holds.
SCHEMA = """
PRAGMA page_size = 1024;
CREATE TABLE story (
    slug TEXT, title TEXT, lead TEXT, body TEXT, published TEXT, expires TEXT, topics TEXT
);
"""

STORIES = [
    (
        "rows-that-are-pages",
        "Rows that are pages",
        "This whole site is a database and an API.",
        "Every story here is a row of `news.db`. Add one:\n\n"
        "```sh\npython3 make-news.py add \"It worked\" \"This was a row ten seconds ago.\"\n```\n\n"
        "Ten seconds later it has a page, is on the front page and in the feed, and the edge has dropped those and nothing else.",
        "2026-03-02 08:00:00",
        None,
        "newsroom,sql",
    ),
    (
        "an-api-can-be-away",
        "An API can be away",
        "Stop `api.py` and look: the weather stays.",
        "A source that does not answer keeps its last good data. The log says so, the metrics count it, and it is asked\n"
        "again, first after a second, then more and more rarely, until it answers. Stories go on being published.",
        "2026-02-14 17:30:00",
        None,
        "newsroom,api",
    ),
    (
        "clocks-that-jump",
        "Clocks that jump",
        "What a schedule does at half past two when there is no half past two.",
        "| expression | when the clock goes forward | when it goes back |\n| --- | --- | --- |\n"
        "| `30 2 * * *` | once, when the gap ends | once, the first time |\n"
        "| `*/10 * * * *` | by the time that passes | by the time that passes |\n",
        "2026-01-20 06:15:00",
        None,
        "newsroom",
    ),
]


def connect():
    connection = sqlite3.connect(DATABASE)
    connection.execute("PRAGMA busy_timeout = 5000")
    return connection


def make():
    DATABASE.unlink(missing_ok=True)
    with connect() as connection:
        connection.executescript(SCHEMA)
        insert(connection, STORIES)


def insert(connection, stories):
    connection.executemany("INSERT INTO story VALUES (?, ?, ?, ?, ?, ?, ?)", stories)


def add(title, text, seconds):
    slug = re.sub(r"\W+", "-", title.lower()).strip("-")
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    published = moment.strftime("%Y-%m-%d %H:%M:%S")
    with connect() as connection:
        insert(connection, [(slug, title, None, text, published, None, "newsroom")])
    print(f"added {slug}, published {published} UTC")


def changed(cursor, slug):
    if cursor.rowcount == 0:
        sys.exit(f"no story {slug!r}; see `python3 make-news.py list`")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command")
    adding = commands.add_parser("add")
    adding.add_argument("--in", dest="seconds", type=float, default=0)
    adding.add_argument("title")
    adding.add_argument("text", nargs="?", default="")
    editing = commands.add_parser("edit")
    editing.add_argument("slug")
    editing.add_argument("text")
    commands.add_parser("remove").add_argument("slug")
    commands.add_parser("list")
    given = parser.parse_args()
    if given.command is None:
        make()
    elif given.command == "add":
        add(given.title, given.text, given.seconds)
    elif given.command == "edit":
        with connect() as connection:
            changed(connection.execute("UPDATE story SET body = ? WHERE slug = ?", (given.text, given.slug)), given.slug)
    elif given.command == "remove":
        with connect() as connection:
            changed(connection.execute("DELETE FROM story WHERE slug = ?", (given.slug,)), given.slug)
    else:
        for slug, title in connect().execute("SELECT slug, title FROM story ORDER BY published DESC"):
            print(f"{slug}\t{title}")


if __name__ == "__main__":
    main()
