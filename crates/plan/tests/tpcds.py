"""Writes TPC-DS into a directory: tables/<table>/<n>.parquet and queries/<nn>.sql.

Both come from the packages duckdb and duckdb-extension-tpcds, of one and the same version:
    pip install duckdb==1.5.5 duckdb-extension-tpcds==1.5.5
"""

import glob
import os
import shutil
import sys

MISSING = 3  # the exit code that says so

try:
    import duckdb
    import duckdb_extension_tpcds
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(MISSING)

directory, scale = sys.argv[1], sys.argv[2]
package = os.path.dirname(duckdb_extension_tpcds.__file__)
extension = glob.glob(package + "/extensions/*/tpcds.duckdb_extension")[0]

unfinished = directory + ".unfinished"
shutil.rmtree(unfinished, ignore_errors=True)
os.makedirs(unfinished + "/queries")
db = duckdb.connect(config={"allow_unsigned_extensions": "true"})
db.execute(f"LOAD '{extension}'")
db.execute(f"CALL dsdgen(sf={scale})")
for (table,) in db.execute("SELECT table_name FROM duckdb_tables()").fetchall():
    os.makedirs(f"{unfinished}/tables/{table}")
    rows = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    # Several files of several row groups, so that scans divide.
    files = 4 if rows > 10_000 else 1
    share = -(-rows // files)
    for file in range(files):
        first = file * share
        db.execute(
            f"COPY (SELECT * FROM {table} WHERE rowid >= {first} AND rowid < {first + share}) "
            f"TO '{unfinished}/tables/{table}/{file}.parquet' (FORMAT parquet, ROW_GROUP_SIZE 8192)"
        )
for number, text in db.execute("SELECT query_nr, query FROM tpcds_queries()").fetchall():
    with open(f"{unfinished}/queries/{number:02}.sql", "w") as file:
        file.write(text)
shutil.rmtree(directory, ignore_errors=True)
os.rename(unfinished, directory)
