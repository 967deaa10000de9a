"""The paper trail of an artifact: sums, statements, an SBOM, signatures; and what they are worth.

    record.Build(prepared, runner, epoch).write(artifact)     after a build
    events.write_proof, events.write_publication              what came of it
    signing.sign(main, key), signing.check(main, public)
    rebuild.rebuild(main, folders, environment)

Nothing is imported here: who checks a signature need not wait for what builds.
"""
