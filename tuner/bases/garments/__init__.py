"""Pictures of garments, drawn from words: a `Look` says what is seen, `draw` paints it, `caption` says it in English.

    palette     colours by name, their shades and how far apart they are
    styles      the four styles kept out of the general set: their colours, patterns and backgrounds
    look        what one picture shows, and the words it may be made of
    outline     smooth closed outlines, and the parts a garment is put together from
    tops, bottoms, wearables    the ten garments, seen as parts
    shapes      from a look to its parts in their place
    brush       paints in units of the picture on a canvas of any size
    surfaces, style_surfaces    patterns and textures on cloth
    backgrounds, draw, captions, sample

Needs only NumPy and Pillow. The same look gives the same picture.
"""
