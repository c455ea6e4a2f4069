//! The catalog as of one version.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use paceline_model::{CatalogVersion, QueryId, TableId};

use super::decisions::Decisions;
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
    /// Which entries decided about which queries, as far back as they are remembered.
    decided: Arc<Decisions>,
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
            decided: Arc::default(),
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

    /// The first entry of the log after a version that decides about a query, of those that are
    /// remembered.
    pub(super) fn decided_after(
        &self,
        query: QueryId,
        version: CatalogVersion,
    ) -> Option<CatalogVersion> {
        self.decided.first_after(query, version)
    }

    /// The version up to which entries that decide about a query may be forgotten.
    pub(super) fn decisions_forgotten(&self) -> CatalogVersion {
        self.decided.forgotten()
    }

    /// The next version. Pure: every process that folds the same log has the same catalog.
    ///
    /// Total, because each change was resolved against the version right before it; a change to
    /// something that does not exist would leave it so. What nobody else holds of this version is
    /// changed and not copied: a log is folded in steps that do not grow with it.
    #[must_use]
    pub(crate) fn apply(mut self, entry: &Entry) -> Self {
        self.version = self.version.next();
        if let Some(change) = &entry.change {
            if let Some(query) = change.decides_about() {
                Arc::make_mut(&mut self.decided).insert(query, self.version);
            }
            let displaced = self.carry_out(change);
            let displaced: Vec<TableId> = displaced.iter().filter_map(id_of).collect();
            if !displaced.is_empty() {
                Arc::make_mut(&mut self.dropped).extend(displaced);
            }
        }
        if let Some(name) = &entry.name {
            Arc::make_mut(&mut self.named).insert(name, self.version);
        }
        self
    }

    /// Makes a change, and says which relations are there no more.
    fn carry_out(&mut self, change: &CatalogChange) -> Vec<Relation> {
        let schemas = Arc::make_mut(&mut self.schemas);
        let mut displaced = Vec::new();
        let mut repeated = None;
        match change {
            CatalogChange::Abandon { .. } => {}
            CatalogChange::CreateSchema { name } => {
                schemas.entry(name.clone()).or_default();
            }
            CatalogChange::DropSchema { name } => {
                let schema = schemas.remove(name);
                displaced.extend(schema.iter().flat_map(|s| s.relations.values().cloned()));
            }
            CatalogChange::CreateExternalTable { table } => {
                let relation = Relation::ExternalTable(Arc::new(table.clone()));
                let relations = relations(schemas, &table.schema);
                displaced.extend(relations.insert(table.name.clone(), relation));
            }
            CatalogChange::CreateTable {
                table,
                query,
                files,
            } => {
                let relations = relations(schemas, &table.schema);
                if managed(relations, &table.name, table.id).is_some() {
                    repeated = *query;
                } else {
                    let stored = StoredTable::new(table.clone(), *query, files);
                    let relation = Relation::Table(Arc::new(stored));
                    displaced.extend(relations.insert(table.name.clone(), relation));
                }
            }
            CatalogChange::Append {
                query,
                schema,
                name,
                table,
                files,
            } => match managed(relations(schemas, schema), name, *table) {
                Some(known) if known.has_write_of(*query) => repeated = Some(*query),
                Some(known) => Arc::make_mut(known).append(*query, files),
                None => {}
            },
            CatalogChange::CreateView { view } => {
                let relation = Relation::View(Arc::new(view.clone()));
                let relations = relations(schemas, &view.schema);
                displaced.extend(relations.insert(view.name.clone(), relation));
            }
            CatalogChange::DropTable { schema, name }
            | CatalogChange::DropView { schema, name } => {
                displaced.extend(relations(schemas, schema).remove(name));
            }
        }
        if let Some(query) = repeated {
            Arc::make_mut(&mut self.repeated).insert(query);
        }
        displaced
    }
}

/// The managed table of that name, if it is that one.
fn managed<'a>(
    relations: &'a mut BTreeMap<String, Relation>,
    name: &str,
    id: TableId,
) -> Option<&'a mut Arc<StoredTable>> {
    match relations.get_mut(name)? {
        Relation::Table(stored) if stored.table.id == id => Some(stored),
        _ => None,
    }
}

/// Which managed table a relation is.
fn id_of(relation: &Relation) -> Option<TableId> {
    match relation {
        Relation::Table(stored) => Some(stored.table.id),
        Relation::ExternalTable(_) | Relation::View(_) => None,
    }
}

fn relations<'a>(
    schemas: &'a mut BTreeMap<String, Arc<Schema>>,
    schema: &str,
) -> &'a mut BTreeMap<String, Relation> {
    let schema = schemas.entry(schema.to_string()).or_default();
    &mut Arc::make_mut(schema).relations
}
