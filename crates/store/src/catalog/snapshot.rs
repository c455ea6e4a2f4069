//! The catalog as of one version.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use paceline_model::{CatalogVersion, QueryId, TableId};

use super::entry::Entry;
use super::names::Names;
use super::{CatalogChange, ExternalTable, StoredTable, View};

/// The schema that is always there, and that names without a schema mean.
pub const DEFAULT_SCHEMA: &str = "public";

/// What a name in a schema stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relation {
    /// A table over files that are somebody else's.
    ExternalTable(Arc<ExternalTable>),
    /// A table with files of its own.
    Table(Arc<StoredTable>),
    /// A named query.
    View(Arc<View>),
}

impl Relation {
    /// "table" or "view".
    pub fn kind(&self) -> &'static str {
        match self {
            Relation::ExternalTable(_) | Relation::Table(_) => "table",
            Relation::View(_) => "view",
        }
    }
}

/// The relations of one schema, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    relations: BTreeMap<String, Relation>,
}

impl Schema {
    /// The relation of that name.
    pub fn relation(&self, name: &str) -> Option<&Relation> {
        self.relations.get(name)
    }

    /// Every relation with its name, in order of names.
    pub fn relations(&self) -> impl ExactSizeIterator<Item = (&str, &Relation)> {
        self.relations.iter().map(|(name, r)| (name.as_str(), r))
    }
}

/// Every schema and relation as of one version. Immutable, and cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogSnapshot {
    version: CatalogVersion,
    schemas: Arc<BTreeMap<String, Arc<Schema>>>,
    /// Managed tables that were there once and never will be again. Their files outlive all other
    /// records of them.
    dropped: Arc<BTreeSet<TableId>>,
    /// Changes that clients gave a name, as far back as they are remembered.
    named: Arc<Names>,
    /// Queries of which the log has more than one write.
    repeated: Arc<BTreeSet<QueryId>>,
}

impl Default for CatalogSnapshot {
    fn default() -> Self {
        let schemas = BTreeMap::from([(DEFAULT_SCHEMA.to_string(), Arc::default())]);
        CatalogSnapshot {
            version: CatalogVersion::default(),
            schemas: Arc::new(schemas),
            dropped: Arc::default(),
            named: Arc::default(),
            repeated: Arc::default(),
        }
    }
}

impl CatalogSnapshot {
    /// The version that this is the catalog of.
    pub fn version(&self) -> CatalogVersion {
        self.version
    }

    /// The schema of that name.
    pub fn schema(&self, name: &str) -> Option<&Schema> {
        self.schemas.get(name).map(Arc::as_ref)
    }

    /// Every schema with its name, in order of names.
    pub fn schemas(&self) -> impl ExactSizeIterator<Item = (&str, &Schema)> {
        self.schemas.iter().map(|(name, s)| (name.as_str(), &**s))
    }

    /// The relation of that name in that schema.
    pub fn relation(&self, schema: &str, name: &str) -> Option<&Relation> {
        self.schema(schema)?.relation(name)
    }

    /// Whether a managed table was there in an earlier version, and is in none from this one on.
    pub fn was_dropped(&self, table: TableId) -> bool {
        self.dropped.contains(&table)
    }

    /// The digest of the statement that was carried out under a client's name for it, if one was, and that
    /// is remembered.
    pub fn carried_out(&self, query: QueryId) -> Option<&str> {
        self.named.statement(query)
    }

    /// Whether it can be told, of every name, if a change was made under it after that version.
    pub(crate) fn remembers_since(&self, version: CatalogVersion) -> bool {
        self.named.forgotten() <= version
    }

    /// Queries of which the log has more than one write, which whoever writes sees to that there are
    /// none of. The first one counts.
    pub fn repeated_writes(&self) -> &BTreeSet<QueryId> {
        &self.repeated
    }

    /// The next version. Pure: every process that folds the same log has the same catalog.
    ///
    /// Total, because each change was resolved against the version right before it; a change to
    /// something that does not exist would leave it so.
    #[must_use]
    pub(crate) fn apply(mut self, entry: &Entry) -> Self {
        let version = self.version.next();
        let mut schemas = BTreeMap::clone(&self.schemas);
        let mut displaced = Vec::new();
        let mut repeated = None;
        match &entry.change {
            None | Some(CatalogChange::Abandon { .. }) => {}
            Some(CatalogChange::CreateSchema { name }) => {
                schemas.entry(name.clone()).or_default();
            }
            Some(CatalogChange::DropSchema { name }) => {
                let schema = schemas.remove(name);
                displaced.extend(schema.iter().flat_map(|s| s.relations.values().cloned()));
            }
            Some(CatalogChange::CreateExternalTable { table }) => {
                let relation = Relation::ExternalTable(Arc::new(table.clone()));
                let relations = relations(&mut schemas, &table.schema);
                displaced.extend(relations.insert(table.name.clone(), relation));
            }
            Some(CatalogChange::CreateTable {
                table,
                query,
                files,
            }) => {
                let relations = relations(&mut schemas, &table.schema);
                if managed(relations, &table.name, table.id).is_some() {
                    repeated = *query;
                } else {
                    let stored = StoredTable::new(table.clone(), *query, files);
                    let relation = Relation::Table(Arc::new(stored));
                    displaced.extend(relations.insert(table.name.clone(), relation));
                }
            }
            Some(CatalogChange::Append {
                query,
                schema,
                name,
                table,
                files,
            }) => {
                let relations = relations(&mut schemas, schema);
                match managed(relations, name, *table) {
                    Some(known) if known.has_write_of(*query) => repeated = Some(*query),
                    Some(known) => {
                        let more = Relation::Table(Arc::new(known.appended(*query, files)));
                        relations.insert(name.clone(), more);
                    }
                    None => {}
                }
            }
            Some(CatalogChange::CreateView { view }) => {
                let relation = Relation::View(Arc::new(view.clone()));
                let relations = relations(&mut schemas, &view.schema);
                displaced.extend(relations.insert(view.name.clone(), relation));
            }
            Some(
                CatalogChange::DropTable { schema, name }
                | CatalogChange::DropView { schema, name },
            ) => {
                displaced.extend(relations(&mut schemas, schema).remove(name));
            }
        }
        if let Some(name) = &entry.name {
            Arc::make_mut(&mut self.named).insert(name, version);
        }
        CatalogSnapshot {
            version,
            schemas: Arc::new(schemas),
            dropped: with_tables(&self.dropped, &displaced),
            named: self.named,
            repeated: match repeated {
                None => self.repeated,
                Some(query) => Arc::new(self.repeated.iter().copied().chain([query]).collect()),
            },
        }
    }
}

/// The managed table of that name, if it is that one.
fn managed<'a>(
    relations: &'a BTreeMap<String, Relation>,
    name: &str,
    id: TableId,
) -> Option<&'a StoredTable> {
    match relations.get(name)? {
        Relation::Table(stored) if stored.table.id == id => Some(stored),
        _ => None,
    }
}

/// The set, and the managed tables among some relations.
fn with_tables(known: &Arc<BTreeSet<TableId>>, more: &[Relation]) -> Arc<BTreeSet<TableId>> {
    let ids = more.iter().filter_map(|relation| match relation {
        Relation::Table(stored) => Some(stored.table.id),
        Relation::ExternalTable(_) | Relation::View(_) => None,
    });
    let ids: Vec<TableId> = ids.collect();
    if ids.is_empty() {
        return Arc::clone(known);
    }
    Arc::new(known.iter().copied().chain(ids).collect())
}

fn relations<'a>(
    schemas: &'a mut BTreeMap<String, Arc<Schema>>,
    schema: &str,
) -> &'a mut BTreeMap<String, Relation> {
    let schema = schemas.entry(schema.to_string()).or_default();
    &mut Arc::make_mut(schema).relations
}
