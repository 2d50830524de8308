//! Lists of terms, and the pages of a term.

use std::sync::Arc;

use tera::Value;

use super::{Done, Result2, file, groups, one, output_of, render, template_groups, term_pager};
use crate::diagnostic::Diagnostic;
use crate::reads::{Node, note, unnoted};
use crate::site::{Pages, Site, note_taxonomy};
use crate::value;

fn taxonomy_template(site: &Site, taxonomy: &str, kind: &str) -> Result2<String> {
    let own = format!("{taxonomy}/{kind}.html");
    let common = format!("taxonomy_{kind}.html");
    note(|| Node::Template(own.as_str().into()));
    note(|| Node::Template(common.as_str().into()));
    match site.engine.first(&[&own, &common]) {
        Some(name) => Ok(name.to_owned()),
        None => Err(vec![
            Diagnostic::new(format!("there is no template for the taxonomy `{taxonomy}`"))
                .hint(format!("create templates/{own} or templates/{common}")),
        ]),
    }
}

pub(super) fn taxonomy_list(site: &Arc<Site>, index: usize) -> Result2<Done> {
    let taxonomy = &site.library.taxonomies[index];
    let template = taxonomy_template(site, &taxonomy.config.name, "list")?;
    let needs = site.engine.needs(&template);
    let mut context = site.context(&taxonomy.lang, false);
    site.place(&mut context, &taxonomy.path);
    let pages = if needs.terms_counted_only { Pages::Counted } else { Pages::All };
    note_taxonomy(taxonomy, needs.fields, false, pages);
    let terms: Vec<Value> = unnoted(|| {
        taxonomy.terms.iter().map(|term| site.term_value(term, needs.fields, false, pages)).collect()
    });
    context.insert_value("terms", Value::from(terms));
    context.insert_value("taxonomy", value::map(site.taxonomy_map(taxonomy, false)));
    let name = format!("the list of the taxonomy `{}`", taxonomy.config.name);
    let body = render(site, &template, &context, &name, false, &needs)?;
    let mut names = vec![format!("term:{}", taxonomy.config.name)];
    names.extend(template_groups(&needs));
    Ok(one(file(&output_of(&taxonomy.path), body, 200, &groups(names))))
}

pub(super) fn taxonomy_term(site: &Arc<Site>, index: usize, number: usize, n: usize) -> Result2<Done> {
    let taxonomy = &site.library.taxonomies[index];
    let term = &taxonomy.terms[number];
    let template = taxonomy_template(site, &taxonomy.config.name, "single")?;
    let needs = site.engine.needs(&template);
    let mut context = site.context(&taxonomy.lang, false);
    let mut path = term.path.to_string();
    let mut pages = Pages::All;
    if let Some(pager) = term_pager(taxonomy, term, n) {
        if !needs.term_pages {
            pages = Pages::Counted;
        }
        path = pager.path_of(n);
        context.insert_value("paginator", pager.value(site, needs.fields));
    }
    context.insert_value("term", site.term_value(term, needs.fields, false, pages));
    context.insert_value("taxonomy", value::map(site.taxonomy_map(taxonomy, false)));
    site.place(&mut context, &path);
    let name = format!("the term `{}` of `{}`", term.name, taxonomy.config.name);
    let body = render(site, &template, &context, &name, false, &needs)?;
    let mut names = vec![format!("term:{}/{}", taxonomy.config.name, term.slug)];
    names.extend(template_groups(&needs));
    Ok(one(file(&output_of(&path), body, 200, &groups(names))))
}
