"""Our backbones in the terms of other detection libraries, one a file; importing a file imports that library.

`torchvision` builds what its detectors take. `detectron2` and `mmdet` enter their registries on import, as those
libraries' configs expect.
"""
