"""Checks that the models which a server loads at startup exist."""

from __future__ import annotations

from mlxbuild.configuration.resolve import Configuration
from mlxbuild.registry.core.reference import InvalidReference
from mlxbuild.registry.oci.remote.errors import InvalidSettings
from mlxbuild.registry.oci.remote.settings import SERVE_KEY
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import UnknownReference
from mlxbuild.runtime.server.models.names import find_model


def require_first_models(store: Store, configuration: Configuration) -> None:
    """Refuse names that are not in the store, because the server would report ready without its models.

    Raises:
        InvalidSettings: a model does not exist; the message names the setting and its origin.
        StoreFailure: the tags cannot be read.
    """
    for key, names in (("preload", configuration.form.preload), ("pin", configuration.form.pin)):
        for name in names:
            try:
                find_model(store, name)
            except (InvalidReference, UnknownReference) as error:
                raise InvalidSettings(
                    f"`{SERVE_KEY}.{key}` cannot name `{name}`: {error.message}",
                    where=configuration.origins[key],
                    hint=error.hint,
                ) from None
