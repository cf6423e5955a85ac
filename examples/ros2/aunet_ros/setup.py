from setuptools import setup

setup(
    name="aunet_ros",
    version="0.1.0",
    packages=["aunet_ros"],
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/aunet_ros"]),
        ("share/aunet_ros", ["package.xml"]),
        ("share/aunet_ros/launch", ["launch/aunet.launch.py"]),
        ("share/aunet_ros/config", ["config/aunet.yaml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="the aunet_sdk authors",
    maintainer_email="aunet@example.com",
    description="Facial Action Units on the topics of REP-155, by aunet_sdk",
    license="MIT",
    entry_points={"console_scripts": ["aunet_node = aunet_ros.node:main"]},
)
