"""20,000 proteins of UniProt with name and organism, as Debian's mmseqs2-examples ships them."""

import re
from typing import NamedTuple

from data.sources.base import Source

MMSEQS2 = Source(
    name="mmseqs2",
    title="20,000 UniProt proteins with name and organism; 3,183 of them reviewed (Swiss-Prot)",
    client="apt",
    package="mmseqs2-examples",
    version="14-7e284+ds-1",
    filename="mmseqs2-examples_14-7e284+ds-1_all.deb",
    sha256="ad2a14a4ca48735eff75de49b702ba969187c4e3b7814b8ae4ec0073f17cd4d2",
    size=9_570_216,
    licence="CC BY 4.0 (UniProt); GPL-3 (package)",
    citation="UniProt Consortium (2015), UniProt: a hub for protein information; Steinegger and Söding (2017), MMseqs2",
    notes="Many names say nothing: Uncharacterized protein, Predicted protein.",
)
SOURCES = (MMSEQS2,)


class Protein(NamedTuple):
    accession: str
    name: str
    organism: str
    reviewed: bool
    """From Swiss-Prot and not TrEMBL."""
    sequence: str
    """Amino acids, one letter each."""


def read_proteins(data_root: str | None = None) -> list[Protein]:
    """All proteins in the file's order."""
    (content,) = MMSEQS2.open(data_root).unzipped("usr/share/doc/mmseqs2/example-data/DB.fasta.gz")
    proteins = []
    for entry in ("\n" + content.decode()).split("\n>")[1:]:
        header, _, residues = entry.partition("\n")
        # >tr|M4KW32|M4KW32_BACIU Choline ABC transporter OS=Bacillus subtilis XF-1 GN=opuBA PE=4 SV=1 Split=0
        match = re.match(r"(sp|tr)\|(\S+?)\|\S+ (.*?) OS=(.*?) (?:[A-Z]{2}=|Split=)", header)
        assert match is not None, header
        section, accession, name, organism = match.groups()
        proteins.append(Protein(accession, name, organism, section == "sp", residues.replace("\n", "")))
    return proteins
