"""Files of boxes as they are published, made small by the tests."""

from caption_files import write_json

SIZE = "<size><width>200</width><height>100</height><depth>3</depth></size>"


def entity(chains, box=None):
    """An object of these chains, with a box (xmin, ymin, xmax, ymax) or none."""
    names = "".join(f"<name>{chain}</name>" for chain in chains)
    if box is None:
        return f"<object>{names}<scene>1</scene><nobndbox>1</nobndbox></object>"
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    bounds = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return f"<object>{names}<bndbox>{bounds}</bndbox></object>"


def make_entities(folder, name, objects, sentences, size=SIZE):
    """The two files of an image in a folder of Flickr30k Entities."""
    for part in ("Annotations", "Sentences"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    xml = f"<annotation><filename>{name}.jpg</filename>{size}{''.join(objects)}</annotation>"
    (folder / "Annotations" / f"{name}.xml").write_text(xml)
    (folder / "Sentences" / f"{name}.txt").write_text("\n".join(sentences))
    return folder


def instances(images, objects, categories):
    """COCO's document: {name: (height, width)}, (name, category, bbox) each, categories' names."""
    numbers = {name: 10 + number for number, name in enumerate(images)}
    kinds = {name: 1 + number for number, name in enumerate(categories)}
    return {
        "info": {"year": 2014},
        "images": [
            {"id": numbers[name], "file_name": name, "height": height, "width": width}
            for name, (height, width) in images.items()
        ],
        "annotations": [
            {
                "id": number,
                "image_id": numbers[name],
                "category_id": kinds[category],
                "bbox": box,
                "segmentation": [[1.0, 2.0]],
            }
            for number, (name, category, box) in enumerate(objects)
        ],
        "categories": [
            {"id": number, "name": name, "supercategory": "x"} for name, number in kinds.items()
        ],
    }


def boxes_named(image, words):
    """For each word that names something in an annotated image, the boxes of all it may mean."""
    return {
        word: [image.objects[index].box for index in named]
        for word, named in image.mentions(words).items()
    }


def make_instances(path, *arguments):
    return write_json(path, instances(*arguments))
