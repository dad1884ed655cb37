"""What single values of an estate file look like: names, addresses, endpoints, times; and `Section`, a mapping."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


class Section(BaseModel):
    """A mapping in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _address(text: str) -> str:
    return _plain(text, str(ip_address(text)))


def _interface(text: str) -> str:
    if "/" not in text:
        raise ValueError("must have a prefix length, as in 10.61.1.11/24")
    return _plain(text, str(ip_interface(text)))


def _cidr(text: str) -> str:
    return _plain(text, str(ip_network(text)))


def _plain(text: str, canonical: str) -> str:
    """One spelling for one address, so that two can be compared as text; a zone (`%eth0`) means nothing elsewhere."""
    if "%" in text:
        raise ValueError("an address with a zone means something on one machine alone")
    return canonical


def _endpoint(text: str) -> str:
    if not 1 <= int(text.rpartition(":")[2]) <= 65535:
        raise ValueError("the port must be from 1 to 65535")
    return text


def _proper(text: str) -> str:
    if any(part in ("", ".", "..") for part in text.split("/")[1:]):
        raise ValueError("must be an absolute path without '//', '.' and '..'")
    return text


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
GroupKey = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}/[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
]
"""`CLOUD/GROUP`, a host group."""
AddressText = Annotated[str, StringConstraints(max_length=64), AfterValidator(_address)]
InterfaceText = Annotated[str, StringConstraints(max_length=64), AfterValidator(_interface)]
Cidr = Annotated[str, StringConstraints(max_length=64), AfterValidator(_cidr)]
Mac = Annotated[str, StringConstraints(pattern=r"^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$")]
"""A unicast address in lower case."""
Minute = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
LocalTime = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]$")
]
SqlName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]
Endpoint = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.\-]{0,251}[A-Za-z0-9])?:[0-9]{1,5}$"),
    AfterValidator(_endpoint),
]
HostText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.:\-]{0,251}[A-Za-z0-9])?$")]
Port = Annotated[int, Field(ge=1, le=65535)]
DeviceName = Annotated[str, StringConstraints(pattern=r"^vd[a-z]{1,3}$")]
AbsolutePath = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/+-]{1,1000}$"), AfterValidator(_proper)]
GuestPath = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/-]{1,1000}$")]
Phrase = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""One line for a person, without control characters."""
