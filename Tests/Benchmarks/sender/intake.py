"""A list through the public API against the same rows through \\copy."""
import os
import subprocess
import time

import material

TABLES = {
    "recipient": "blast_id, recipient_no, district_id, line_no, channel, address, address_hash, fault, fault_reason,"
                 " name, person_ref, person_kind, school, locale, categories, consent_refused, fields",
    "delivery_status": "blast_id, recipient_no, district_id, person_ref",
}


def psql(rig, script):
    subprocess.run(
        ["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", rig.conninfo("run")], input=script, text=True,
        check=True, stdout=subprocess.DEVNULL, env=os.environ | {"PGOPTIONS": "-c search_path=rollcall"})


def compare(rig, sink_port, rows):
    """Rows a second of both, into the same tables with the same indexes and the same rows, one after the other."""
    sender = rig.start_sender(rig.fresh_database(), sink_port, 10)
    try:
        recipients = material.recipient_list(rows)
        blast = sender.intake.make_draft("list", 10_000)
        begun = time.monotonic()
        taken = sender.intake.upload(blast, recipients)
        intake_seconds = time.monotonic() - begun
    finally:
        sender.stop()
    if taken["audience"] != rows or taken["faults"]:
        raise SystemExit(f"bench: the list was taken in wrong: {taken}")
    files = {table: os.path.join(rig.state, f"bench-{table}.tsv") for table in TABLES}
    psql(rig, "".join(f"\\copy (SELECT {columns} FROM {table} ORDER BY recipient_no) TO '{files[table]}'\n"
                      for table, columns in TABLES.items()))
    rig.fresh_database()
    copies = "".join(f"\\copy {table} ({columns}) FROM '{files[table]}'\n" for table, columns in TABLES.items())
    begun = time.monotonic()
    psql(rig, f"BEGIN;\n{copies}COMMIT;\n")
    copy_seconds = time.monotonic() - begun
    for path in files.values():
        os.remove(path)
    return rows / intake_seconds, rows / copy_seconds
